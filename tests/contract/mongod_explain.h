#ifndef MONGOD_EXPLAIN_H
#define MONGOD_EXPLAIN_H

#include "contract.h"

/* mongod_explain_run: the server says how it would answer; the number of failed tests. */
int mongod_explain_run(const struct contract_kind *kind);

#endif
