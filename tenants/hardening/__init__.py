"""Closing clusters: how closed one is (`levels`), closing it (`prepare.prepare_cluster`), logins of low privilege."""
