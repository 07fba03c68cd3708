"""The call graphs of well-known sample applications, as data files."""
