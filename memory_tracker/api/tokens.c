#include "api/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

/* A file system's clock may be this coarse; a change within the same tick may not show. */
enum { SETTLED_AFTER_S = 3 };

struct row {
    struct mt_grant grant;
    unsigned char digest[SHA256_DIGEST_LENGTH];
};

struct mt_tokens {
    size_t count;
    struct row rows[];
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Letters, digits, and what `others` has. */
static bool consists_of(struct mt_slice text, const char *others)
{
    for (size_t i = 0; i < text.length; i++)
        if (!is_letter(text.data[i]) &&
            (text.data[i] == '\0' || strchr(others, text.data[i]) == NULL))
            return false;
    return true;
}

static const struct {
    const char *name;
    enum mt_scope scope;
} scopes[] = {{"append", MT_SCOPE_APPEND}, {"read", MT_SCOPE_READ}, {"admin", MT_SCOPE_ADMIN}};

static bool read_scope(struct mt_slice text, struct mt_grant *grant)
{
    /* mt_record_check knows what a host may be called */
    struct mt_record record = {.timestamp = 0};

    for (size_t i = 0; i < sizeof scopes / sizeof scopes[0]; i++) {
        if (mt_slice_equal(text, scopes[i].name)) {
            grant->scope = scopes[i].scope;
            return true;
        }
    }
    if (!mt_slice_starts_with(text, "host:") || text.length - 5 > MT_HOST_MAX)
        return false;
    memcpy(record.host, text.data + 5, text.length - 5);
    if (strlen(record.host) != text.length - 5 || mt_record_check_values(&record, NULL) != MT_OK)
        return false;
    grant->scope = MT_SCOPE_HOST;
    memcpy(grant->host, record.host, sizeof grant->host);
    return true;
}

static bool is_token(struct mt_slice text)
{
    return text.length >= MT_TOKEN_LEAST && text.length <= MT_TOKEN_MOST &&
           consists_of(text, "-._~+/=");
}

static bool read_digest(struct mt_slice hex, unsigned char digest[SHA256_DIGEST_LENGTH])
{
    if (hex.length != (size_t)2 * SHA256_DIGEST_LENGTH)
        return false;
    for (size_t i = 0; i < SHA256_DIGEST_LENGTH; i++) {
        int high = mt_hex_digit(hex.data[2 * i]);
        int low = mt_hex_digit(hex.data[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        digest[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static bool read_token(struct mt_slice text, unsigned char digest[SHA256_DIGEST_LENGTH])
{
    if (mt_slice_starts_with(text, "sha256:"))
        return read_digest((struct mt_slice){text.data + 7, text.length - 7}, digest);
    if (!is_token(text))
        return false;
    (void)SHA256((const unsigned char *)text.data, text.length, digest);
    return true;
}

/* What is wrong with a line, or NULL. Nothing of the line is repeated: it may be the secret. */
static const char *read_line(struct mt_slice line, struct row *row)
{
    struct mt_slice name = mt_next_word(&line);
    struct mt_slice scope = mt_next_word(&line);
    struct mt_slice token = mt_next_word(&line);

    if (token.length == 0 || mt_next_word(&line).length > 0)
        return "must be three words: NAME SCOPE TOKEN";
    if (name.length > MT_TOKEN_NAME_MOST || !consists_of(name, "._-"))
        return "the name (first word) must be 1 to 64 letters, digits, dots, dashes and "
               "underscores";
    memcpy(row->grant.name, name.data, name.length);
    if (!read_scope(scope, &row->grant))
        return "the scope (second word) must be host:NAME, append, read or admin";
    if (!read_token(token, row->digest))
        return "the token (third word) must be 16 to 512 letters, digits and -._~+/= (try "
               "`openssl rand -hex 32`), or sha256: and 64 hexadecimal digits";
    return NULL;
}

static const char *find_double(const struct mt_tokens *tokens, const struct row *row)
{
    for (size_t i = 0; i < tokens->count; i++) {
        if (strcmp(tokens->rows[i].grant.name, row->grant.name) == 0)
            return "the name (first word) stands on an earlier line; each token needs its own";
        if (memcmp(tokens->rows[i].digest, row->digest, sizeof row->digest) == 0)
            return "the token (third word) stands on an earlier line; each name needs its own";
    }
    return NULL;
}

static size_t count_lines(struct mt_slice text)
{
    size_t lines = 1;

    for (size_t i = 0; i < text.length; i++)
        lines += text.data[i] == '\n';
    return lines;
}

enum mt_err mt_tokens_parse(const char *path, struct mt_slice text, struct mt_tokens **tokens,
                            struct mt_error *error)
{
    struct mt_tokens *new;
    size_t number = 0;
    size_t lines = 0;

    if (text.length > MT_TOKENS_FILE_MOST)
        return mt_error_set(error, MT_ERR_CONFIG, "%s: larger than 1 MiB: no file of tokens", path);
    lines = count_lines(text);
    new = calloc(1, sizeof *new + lines * sizeof new->rows[0]);
    if (new == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for %zu tokens", lines);
    while (text.length > 0) {
        const char *newline = memchr(text.data, '\n', text.length);
        struct mt_slice line = {text.data,
                                newline != NULL ? (size_t)(newline - text.data) : text.length};
        struct mt_slice rest;
        struct mt_slice first;
        struct row row = {0};
        const char *wrong;

        number++;
        text.data += line.length + (newline != NULL);
        text.length -= line.length + (newline != NULL);
        if (line.length > 0 && line.data[line.length - 1] == '\r')
            line.length--;
        rest = line;
        first = mt_next_word(&rest);
        if (first.length == 0 || first.data[0] == '#')
            continue;
        wrong = read_line(line, &row);
        if (wrong == NULL)
            wrong = find_double(new, &row);
        if (wrong != NULL) {
            mt_tokens_free(new);
            return mt_error_set(error, MT_ERR_CONFIG, "%s:%zu: %s", path, number, wrong);
        }
        new->rows[new->count++] = row;
    }
    *tokens = new;
    return MT_OK;
}

void mt_tokens_free(struct mt_tokens *tokens)
{
    free(tokens);
}

size_t mt_tokens_count(const struct mt_tokens *tokens)
{
    return tokens->count;
}

const struct mt_grant *mt_tokens_find(const struct mt_tokens *tokens, struct mt_slice authorization)
{
    static const char scheme[] = "Bearer ";
    unsigned char digest[SHA256_DIGEST_LENGTH];
    const struct mt_grant *found = NULL;

    if (authorization.length < sizeof scheme - 1 ||
        strncasecmp(authorization.data, scheme, sizeof scheme - 1) != 0)
        return NULL;
    authorization.data += sizeof scheme - 1;
    authorization.length -= sizeof scheme - 1;
    while (authorization.length > 0 && authorization.data[0] == ' ') {
        authorization.data++;
        authorization.length--;
    }
    if (!is_token(authorization))
        return NULL;
    (void)SHA256((const unsigned char *)authorization.data, authorization.length, digest);
    for (size_t i = 0; i < tokens->count; i++)
        if (CRYPTO_memcmp(digest, tokens->rows[i].digest, sizeof digest) == 0)
            found = &tokens->rows[i].grant;
    return found;
}

static bool looks_the_same(const struct mt_tokens_file *file, const struct stat *now)
{
    return file->seen.device == (uint64_t)now->st_dev &&
           file->seen.inode == (uint64_t)now->st_ino && file->seen.size == (int64_t)now->st_size &&
           file->seen.modified.tv_sec == now->st_mtim.tv_sec &&
           file->seen.modified.tv_nsec == now->st_mtim.tv_nsec &&
           file->seen.changed.tv_sec == now->st_ctim.tv_sec &&
           file->seen.changed.tv_nsec == now->st_ctim.tv_nsec;
}

static void remember(struct mt_tokens_file *file, const struct stat *now)
{
    file->seen.device = (uint64_t)now->st_dev;
    file->seen.inode = (uint64_t)now->st_ino;
    file->seen.size = (int64_t)now->st_size;
    file->seen.modified = now->st_mtim;
    file->seen.changed = now->st_ctim;
    file->settled = mt_clock_wall_s() - now->st_ctim.tv_sec >= SETTLED_AFTER_S;
}

static enum mt_err check_mode(const char *path, const struct stat *status, struct mt_error *error)
{
    if (!S_ISREG(status->st_mode))
        return mt_error_set(error, MT_ERR_CONFIG, "tokens %s: not a regular file", path);
    if ((status->st_mode & (S_IROTH | S_IWOTH)) != 0)
        return mt_error_set(error, MT_ERR_CONFIG,
                            "tokens %s: everybody may read or change it (mode %04o); type: chmod "
                            "o-rw %s",
                            path, (unsigned)status->st_mode & 07777U, path);
    return MT_OK;
}

/* The whole file; *text is zeroed and freed by the caller. */
static enum mt_err read_all(int fd, const char *path, char *text, size_t size, size_t *length,
                            struct mt_error *error)
{
    *length = 0;
    while (*length < size) {
        ssize_t count = read(fd, text + *length, size - *length);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return mt_error_set_errno(error, MT_ERR_CONFIG, errno, "tokens %s: cannot read", path);
        if (count == 0)
            break;
        *length += (size_t)count;
    }
    return MT_OK;
}

/* Parses what was read, unless it is what was read last. */
static enum mt_err take_text(struct mt_tokens_file *file, struct mt_slice text,
                             struct mt_error *error)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    struct mt_tokens *tokens = NULL;
    enum mt_err result;

    /* whoever writes the file anew empties it first: that is no moment to take every token back */
    if (text.length == 0 && file->tokens != NULL && !file->settled)
        return MT_OK;
    if (text.length == 0)
        return mt_error_set(error, MT_ERR_CONFIG,
                            "tokens %s: is empty; where no token is to be valid, leave a line "
                            "that begins with #",
                            file->path);
    (void)SHA256((const unsigned char *)text.data, text.length, digest);
    if (memcmp(digest, file->digest, sizeof digest) == 0)
        return MT_OK;
    memcpy(file->digest, digest, sizeof digest);
    result = mt_tokens_parse(file->path, text, &tokens, error);
    if (result == MT_OK) {
        mt_tokens_free(file->tokens);
        file->tokens = tokens;
        file->readings++;
    }
    return result;
}

static enum mt_err read_file(struct mt_tokens_file *file, int fd, struct mt_error *error)
{
    enum { SIZE = MT_TOKENS_FILE_MOST + 1 };
    struct stat status = {0};
    char *text = NULL;
    size_t length = 0;
    enum mt_err result;

    if (fstat(fd, &status) != 0)
        return mt_error_set_errno(error, MT_ERR_CONFIG, errno, "tokens %s: cannot look at it",
                                  file->path);
    remember(file, &status);
    result = check_mode(file->path, &status, error);
    if (result != MT_OK) {
        /* once its mode is right, the same text counts as news */
        memset(file->digest, 0, sizeof file->digest);
        file->settled = true;
        return result;
    }
    text = malloc(SIZE);
    if (text == NULL) {
        file->settled = false;
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory for the tokens");
    }
    result = read_all(fd, file->path, text, SIZE, &length, error);
    if (result == MT_OK)
        result = take_text(file, (struct mt_slice){text, length}, error);
    OPENSSL_cleanse(text, length);
    free(text);
    return result;
}

static enum mt_err read_path(struct mt_tokens_file *file, struct mt_error *error)
{
    /* O_NONBLOCK: a FIFO is refused, not waited for */
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    enum mt_err result;

    if (fd < 0) {
        file->settled = true;
        return mt_error_set_errno(error, MT_ERR_CONFIG, errno, "tokens %s: cannot open",
                                  file->path);
    }
    result = read_file(file, fd, error);
    (void)close(fd);
    return result;
}

enum mt_err mt_tokens_file_open(struct mt_tokens_file *file, const char *path,
                                struct mt_error *error)
{
    *file = (struct mt_tokens_file){.path = path};
    return read_path(file, error);
}

void mt_tokens_file_close(struct mt_tokens_file *file)
{
    mt_tokens_free(file->tokens);
    file->tokens = NULL;
}

enum mt_err mt_tokens_file_look(struct mt_tokens_file *file, struct mt_error *error)
{
    static const struct stat nothing;
    struct stat now;
    enum mt_err result;

    if (stat(file->path, &now) != 0) {
        int failure = errno;

        if (looks_the_same(file, &nothing))
            return MT_OK;
        remember(file, &nothing);
        return mt_error_set_errno(error, MT_ERR_CONFIG, failure,
                                  "tokens %s: cannot look at it; the last good ones count on",
                                  file->path);
    }
    if (file->settled && looks_the_same(file, &now))
        return MT_OK;
    remember(file, &now);
    result = read_path(file, error);
    if (result == MT_ERR_CONFIG && error != NULL) {
        struct mt_error cause = *error;

        return mt_error_set(error, result, "%s; the last good ones count on", cause.text);
    }
    return result;
}
