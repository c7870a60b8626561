/*
 * Kinds of store that are loaded when a URI asks for them, since their libraries are heavy: mongodb
 * and http. They lie as memory-tracker-store-NAME.so in a directory that is found from the
 * program's own place: ../lib/memory-tracker beside bin/, or the directory `modules` beside the
 * program's own in a build tree.
 */
#ifndef MT_STORE_MODULE_H
#define MT_STORE_MODULE_H

/*
 * mt_store_use_modules: mt_store_open finds modules from now on. Called by main before any thread
 * starts, in programs that may load shared libraries: all but memory-sampler. A module stays loaded
 * until the process ends. A missing or foreign module is a CONFIG of mt_store_open that says which
 * file was looked for and which package brings it.
 */
void mt_store_use_modules(void);

#endif
