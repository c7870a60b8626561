# FerretDB, a server of the MongoDB protocol, on SQLite files
# shellcheck shell=bash disable=SC2034
tags=ferretdb_no_postgresql
