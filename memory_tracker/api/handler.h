/*
 * The handlers the router chooses from: functions of (request, state) that leave an answer, as
 * mt_api_answer does. *answer is initialised and of kind BYTES when they are called. Any thread.
 */
#ifndef MT_API_HANDLER_H
#define MT_API_HANDLER_H

#include "api/http.h"

typedef void mt_handler(const struct mt_request *request, const struct mt_api_state *state,
                        struct mt_answer *answer);

/* mt_handle_logs: GET /memory-logs: 422 as bytes, or a job that scans the store. */
mt_handler mt_handle_logs;

/* mt_handle_healthz: 200 as long as the process lives. */
mt_handler mt_handle_healthz;

/* mt_handle_readyz: 200 if the store answers now, 503 with the reason if not or when draining. */
mt_handler mt_handle_readyz;

#endif
