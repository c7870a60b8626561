/* What the HTTP library prints to stderr on its own becomes lines of our log. */
#ifndef MT_API_LIBRARY_OUTPUT_H
#define MT_API_LIBRARY_OUTPUT_H

/*
 * mt_library_output_to_log: from now on what is printed to the stdio stream stderr is logged as
 * warnings, a line each; what any client can cause at will (the library prints every path that does
 * not begin with `/`) only at level debug. Called by main before any thread starts.
 */
void mt_library_output_to_log(void);

#endif
