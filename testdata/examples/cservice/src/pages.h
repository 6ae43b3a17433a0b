/* What the service answers. */
#ifndef PAGES_H
#define PAGES_H

struct page {
    int status;
    const char *reason;
    const char *body;
};

/* The page at a path; one that says that there is none, if there is none. */
struct page page_at(const char *path);

#endif
