"""Backs up what the components of a stack declare, restores it to prove it, and brings it back.

They declare it by ``saves`` in their records. The package is shipped to the VPS as it is and run there as root by
Python 3.9 or newer: standard library only.

Root, because each of these is root's already: the engine's socket (to run pg_dump and BGSAVE in containers), the files
of volumes, whoever owns them, and the key of the repository. restic itself runs in a container that sees nothing but
what it is to read; what an application wrote is opened by programs without any right: SQLite as the
owner of its file, servers in throw-away containers.
"""
