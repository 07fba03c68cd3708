"""The edge to the kernel: the only room that writes to the host.

Duty: measure and move CPU, cache, memory, disk and network between containers, and leave the node as found.
Ban: decides nothing; imports ``mesh`` and no other room of ours.
Start reading at ``cells.py``, then ``kernel_files.py``, ``writer.py`` and ``transactions.py``.
"""
