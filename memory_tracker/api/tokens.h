/*
 * Who may push records and read the store over HTTP: the tokens of a file, one a line,
 * `NAME SCOPE TOKEN`. Only their SHA-256 digests are kept; no error and no log shows a token or any
 * text that might be one.
 */
#ifndef MT_API_TOKENS_H
#define MT_API_TOKENS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"
#include "base/text.h"
#include "record/record.h"

enum {
    MT_TOKEN_NAME_MOST = 64,
    MT_TOKEN_LEAST = 16, /* bytes of a token */
    MT_TOKEN_MOST = 512,
    MT_TOKENS_FILE_MOST = 1024 * 1024,
};

/* What a token is for; its bit in the scopes that a route takes. */
enum mt_scope {
    MT_SCOPE_HOST = 1 << 0,   /* append records of one host */
    MT_SCOPE_APPEND = 1 << 1, /* append records of any host */
    MT_SCOPE_READ = 1 << 2,   /* read the store */
    MT_SCOPE_ADMIN = 1 << 3,  /* everything */
};

/* What a valid token gives its bearer; a value. */
struct mt_grant {
    enum mt_scope scope;
    char name[MT_TOKEN_NAME_MOST + 1]; /* of the token, for logs: letters, digits and `._-` */
    char host[MT_HOST_MAX + 1];        /* of MT_SCOPE_HOST, else "" */
};

struct mt_tokens; /* immutable; from mt_tokens_parse, freed by mt_tokens_free */

/*
 * mt_tokens_parse: the lines of a file. Blank lines and those that begin with `#` are passed over.
 * In place of a TOKEN may stand `sha256:` and its digest in hex. CONFIG with path:line for whatever
 * is wrong, a name or a token given twice included. No token at all is fine: then none is valid.
 */
enum mt_err mt_tokens_parse(const char *path, struct mt_slice text, struct mt_tokens **tokens,
                            struct mt_error *error);
void mt_tokens_free(struct mt_tokens *tokens); /* accepts NULL */
size_t mt_tokens_count(const struct mt_tokens *tokens);

/*
 * mt_tokens_find: what the value of an Authorization header, `Bearer TOKEN`, gives; NULL if
 * nothing. Looks at every token, in a time that tells nothing of how near a wrong one is. Borrowed
 * from tokens.
 */
const struct mt_grant *mt_tokens_find(const struct mt_tokens *tokens,
                                      struct mt_slice authorization);

/* A file of tokens as one thread last saw it; owned by that thread. */
struct mt_tokens_file {
    const char *path; /* must live as long */
    struct mt_tokens *tokens;
    struct {
        uint64_t device, inode;
        int64_t size;
        struct timespec modified, changed;
    } seen;
    size_t readings; /* how often `tokens` was replaced */
    bool settled;    /* it was last changed so long ago that a further change shows in `seen` */
    unsigned char digest[32]; /* of what was read last, good or not */
};

/*
 * mt_tokens_file_open: reads the file for the first time. CONFIG, also where it may be read or
 * written by everybody, names file and remedy. mt_tokens_file_close accepts a zeroed *file.
 */
enum mt_err mt_tokens_file_open(struct mt_tokens_file *file, const char *path,
                                struct mt_error *error);
void mt_tokens_file_close(struct mt_tokens_file *file);

/*
 * mt_tokens_file_look: reads the file anew if it was changed; cheap if not. A file that is broken,
 * empty or away leaves the tokens as they were: CONFIG once for each change, MT_OK from then on.
 */
enum mt_err mt_tokens_file_look(struct mt_tokens_file *file, struct mt_error *error);

#endif
