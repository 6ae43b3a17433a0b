/* Asks a server on this machine for a page. */
#ifndef CLIENT_H
#define CLIENT_H

#include <stddef.h>

/* Writes the answer's body into `body`, ended by a zero byte. Gives the status, or -1 if there is no proper answer. */
int client_get(unsigned short port, const char *path, char *body, size_t size);

#endif
