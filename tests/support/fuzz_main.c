/*
 * Stands in for libFuzzer's main where there is no libFuzzer: gives every file of the directories
 * named as arguments to the fuzz target, once. Fails if there was none.
 */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int feed(const char *directory, const char *name)
{
    static uint8_t bytes[1 << 20];
    char path[4096];
    uint8_t *exact;
    size_t size;
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    file = fopen(path, "rbe");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    /* a block of exactly this size, so that a sanitizer sees a read past the end */
    exact = malloc(size == 0 ? 1 : size);
    if (exact == NULL)
        return 1;
    memcpy(exact, bytes, size);
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    int fed = 0;
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        const struct dirent *entry;

        if (directory == NULL) {
            perror(argv[i]);
            return 1;
        }
        while ((entry = readdir(directory)) != NULL) {
            if (entry->d_name[0] == '.')
                continue;
            failed += feed(argv[i], entry->d_name);
            fed++;
        }
        (void)closedir(directory);
    }
    (void)printf("%d seeds\n", fed);
    return fed > 0 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
