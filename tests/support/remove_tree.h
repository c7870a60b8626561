/* Removes a directory of a test with all that is in it. */
#ifndef MT_TESTS_REMOVE_TREE_H
#define MT_TESTS_REMOVE_TREE_H

#include <ftw.h>
#include <stdio.h>

static inline int remove_entry(const char *path, const struct stat *status, int type,
                               struct FTW *level)
{
    (void)status;
    (void)type;
    (void)level;
    return remove(path);
}

/* Not 0: something could not be removed and is still there. */
static inline int remove_tree(const char *directory)
{
    return nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
