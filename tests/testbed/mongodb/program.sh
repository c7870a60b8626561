# what the tests have for the image mongo:8.0: entry point, mongod and mongosh in one program
# shellcheck shell=bash disable=SC2034
tags=ferretdb_no_postgresql
