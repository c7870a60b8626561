/*
 * The handlers the router chooses from: functions of (request, state) that leave an answer, as
 * mt_api_answer does. *answer is initialised and of kind BYTES when they are called. Any thread.
 */
#ifndef MT_API_HANDLER_H
#define MT_API_HANDLER_H

#include "api/http.h"

typedef void mt_handler(const struct mt_request *request, const struct mt_api_state *state,
                        struct mt_answer *answer);

/*
 * Behind a token: the router has found what it grants, and put it into answer->job.remote.
 */

/* mt_handle_push: POST /memory-logs: a job that appends the records of the body. */
mt_handler mt_handle_push;

/* The store protocol: jobs that do to the store what their names say. */
mt_handler mt_handle_store_records;
mt_handler mt_handle_store_changes;
mt_handler mt_handle_store_token;
mt_handler mt_handle_store_hosts;
mt_handler mt_handle_store_prune;
mt_handler mt_handle_store_size;
mt_handler mt_handle_store_verify;
mt_handler mt_handle_store_ping;

/* For everybody: */

/* mt_handle_logs: GET /memory-logs: 422 as bytes, or a job that scans the store. */
mt_handler mt_handle_logs;

/* mt_handle_healthz: 200 as long as the process lives. */
mt_handler mt_handle_healthz;

/* mt_handle_readyz: 200 if the store answers now, 503 with the reason if not or when draining. */
mt_handler mt_handle_readyz;

#endif
