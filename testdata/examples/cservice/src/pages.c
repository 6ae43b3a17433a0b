#include "pages.h"

#include <string.h>

struct page page_at(const char *path)
{
    if (strcmp(path, "/") == 0)
        return (struct page){200, "OK", "Hello from a service in C.\n"};
    if (strcmp(path, "/health") == 0)
        return (struct page){200, "OK", "healthy\n"};
    return (struct page){404, "Not Found", "There is no such page.\n"};
}
