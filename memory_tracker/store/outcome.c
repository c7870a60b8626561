#include "store/outcome.h"

#include <inttypes.h>
#include <stdio.h>

void mt_outcome_conflict(const struct mt_record *there, struct mt_outcome *outcome)
{
    char boot[MT_BOOT_ID_TEXT_SIZE] = "an unknown boot";

    if (there->has_boot_id)
        mt_boot_id_format(there->boot_id, boot);
    outcome->verdict = MT_VERDICT_CONFLICT;
    (void)snprintf(outcome->text, sizeof outcome->text,
                   "second %" PRId64 " already holds another record, of %s%s", there->timestamp,
                   there->has_boot_id ? "boot " : "", boot);
}

void mt_outcome_reject(const char *reason, struct mt_outcome *outcome)
{
    outcome->verdict = MT_VERDICT_REJECTED;
    (void)snprintf(outcome->text, sizeof outcome->text, "%.*s", (int)sizeof outcome->text - 1,
                   reason);
}
