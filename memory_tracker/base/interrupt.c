#include "base/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t seen;

static void mark(int number)
{
    (void)number;
    seen = 1;
}

void mt_interrupt_catch(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    /* no SA_RESTART: a read from a terminal or a pipe ends, too */
    struct sigaction action = {.sa_handler = mark};

    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        struct sigaction before;

        /* nohup and shells ignore some of them on purpose: that stays */
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            (void)sigaction(signals[i], &action, NULL);
    }
}

bool mt_interrupt_seen(void *context)
{
    (void)context;
    return seen != 0;
}
