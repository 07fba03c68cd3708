"""The program: command line, settings and the control loop that joins the rooms.

Duty: compose one process each (control plane, node agent), pass values between edges and pure rooms.
Ban: holds no algorithm and no protocol; imports nothing of ``lab``.
Start reading at ``control_loop.py``, then ``control_plane.py``.
"""
