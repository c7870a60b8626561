/*
 * What the handlers for other programs of ours have in common: pushes and the store protocol, both
 * behind a token. Any thread.
 */
#ifndef MT_API_REMOTE_H
#define MT_API_REMOTE_H

#include "api/handler.h"

typedef void mt_run(const struct mt_job *job, struct mt_store *store,
                    const struct mt_error *open_error, struct mt_response *response,
                    struct mt_error *error);

/*
 * mt_remote_begin: checks the parameters in `choice` and makes the answer a job that runs `run`,
 * keeping the query and whether the answer may be compressed. False if the answer is a refusal.
 */
bool mt_remote_begin(const struct mt_request *request, const struct mt_api_state *state,
                     uint32_t choice, mt_run *run, struct mt_answer *answer);

/* mt_remote_fail: the answer to a failure of the store, told to the bearer of a token in full. */
void mt_remote_fail(struct mt_response *response, const struct mt_error *error);

/*
 * mt_remote_has_store: true if there is a store to work on; otherwise the answer and *error say
 * why not.
 */
bool mt_remote_has_store(const struct mt_store *store, const struct mt_error *open_error,
                         struct mt_response *response, struct mt_error *error);

#endif
