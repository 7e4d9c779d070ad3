"""Documents to pages: everything that touches a stranger's bytes runs in a child process with limits.

Keep this file free of imports: the child imports the package at every start.
"""
