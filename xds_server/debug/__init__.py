"""The debug pages of the xDS server, with the names that istiod gives them."""
