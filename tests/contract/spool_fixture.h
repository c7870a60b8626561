/* What the tests of the outbox share. A fixture's path is the outbox's. */
#ifndef SPOOL_FIXTURE_H
#define SPOOL_FIXTURE_H

#include "sqlite_fixture.h"
#include "store/spool.h"

/* Opens the outbox, and says how it stands; both have to go well. */
struct mt_spool *open_spool(const struct fixture *fixture);
struct mt_spool_status status_of(struct mt_spool *spool, const char *destination);

/* A delivery that has a minute from now. */
struct mt_spool_delivery to(const char *destination, struct mt_store *store);

#endif
