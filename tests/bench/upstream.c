/*
 * A fake provider, fast enough not to matter: it plays back bytes that were prepared for it.
 *
 *     upstream FOLDER
 *
 * FOLDER/routes has a line "METHOD PATTERN NAME" for each route (the first that fits counts; the pattern is a shell's)
 * and FOLDER/NAME.* what is sent there, HTTP framing included:
 *     .answer              a whole response
 *     .open .piece .end    a stream: its beginning, a piece (in which the first "0000" becomes the piece's number), its end
 *     .mark .marked        a whole response for bodies in which the mark is found
 * A route with both streams if the body says "stream": true.
 * GET /play/PIECES/MICROSECONDS says how long streams are and how far apart their pieces; GET /served tells how many
 * POSTs were answered. The port is chosen by the system and printed. One thread, loopback only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fnmatch.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { MAX_ROUTES = 64, MAX_FDS = 1024, LONGEST_REQUEST = 1 << 17, LONGEST_PIECE = 1024 };

struct blob {
    char *data;
    size_t size;
};

struct route {
    char method[8], pattern[64];
    struct blob answer, open, piece, end, mark, marked;
    size_t number_at;
};

struct connection {
    const struct route *streaming; /* NULL: waiting for a request */
    int timer, next;
    size_t size;
    char in[LONGEST_REQUEST + 1];
};

static struct route routes[MAX_ROUTES];
static int route_count;
static struct connection connections[MAX_FDS]; /* by file descriptor */
static int ticks_for[MAX_FDS];                 /* the connection whose timer a file descriptor is, or 0 */
static int events, pieces = 10;
static long pace = 10000, served;

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* ── what is played back ── */

static struct blob load(const char *folder, const char *name, const char *part) {
    char path[512];
    struct blob blob = {NULL, 0};
    snprintf(path, sizeof path, "%s/%s.%s", folder, name, part);
    FILE *file = fopen(path, "rb");
    if (!file) return blob;
    fseek(file, 0, SEEK_END);
    blob.size = (size_t)ftell(file);
    rewind(file);
    blob.data = malloc(blob.size);
    if (!blob.data || fread(blob.data, 1, blob.size, file) != blob.size) die(path);
    fclose(file);
    return blob;
}

static void load_routes(const char *folder) {
    char path[512], name[64];
    snprintf(path, sizeof path, "%s/routes", folder);
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    struct route *route = routes;
    while (route_count < MAX_ROUTES && fscanf(file, "%7s %63s %63s", route->method, route->pattern, name) == 3) {
        route->answer = load(folder, name, "answer");
        route->open = load(folder, name, "open");
        route->piece = load(folder, name, "piece");
        route->end = load(folder, name, "end");
        route->mark = load(folder, name, "mark");
        route->marked = load(folder, name, "marked");
        if (route->piece.data) {
            char *number = memmem(route->piece.data, route->piece.size, "0000", 4);
            if (!number || route->piece.size > LONGEST_PIECE) die(name);
            route->number_at = (size_t)(number - route->piece.data);
        }
        route = &routes[++route_count];
    }
    fclose(file);
}

static const struct route *find_route(const char *method, const char *path) {
    for (int i = 0; i < route_count; i++)
        if (strcmp(method, routes[i].method) == 0 && fnmatch(routes[i].pattern, path, 0) == 0) return &routes[i];
    return NULL;
}

/* ── connections ── */

static void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (fd >= MAX_FDS || epoll_ctl(events, EPOLL_CTL_ADD, fd, &event)) die("too many connections");
}

static void greet(int listener) {
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(fd);
}

static void end_stream(struct connection *c) {
    if (!c->streaming) return;
    ticks_for[c->timer] = 0;
    close(c->timer);
    c->streaming = NULL;
}

static void hang_up(int fd) {
    end_stream(&connections[fd]);
    connections[fd].size = 0;
    close(fd);
}

/* What is sent fits the socket's buffer unless the reader hangs, so a wait here holds up nobody in practice. */
static bool send_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0) {
            struct pollfd writable = {fd, POLLOUT, 0};
            if (errno == EAGAIN && poll(&writable, 1, 5000) == 1) continue;
            return false;
        }
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

static bool send_status(int fd, const char *status, long number) {
    char answer[128], text[32];
    int length = snprintf(text, sizeof text, "%ld", number);
    int size = snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s", status, length, text);
    return send_all(fd, answer, (size_t)size);
}

/* ── streams ── */

static bool send_piece(int fd, struct connection *c) {
    const struct route *route = c->streaming;
    if (c->next == pieces) {
        end_stream(c);
        return send_all(fd, route->end.data, route->end.size);
    }
    char piece[LONGEST_PIECE], number[16];
    snprintf(number, sizeof number, "%04d", c->next++ % 10000);
    memcpy(piece, route->piece.data, route->piece.size);
    memcpy(piece + route->number_at, number, 4);
    return send_all(fd, piece, route->piece.size);
}

static bool begin_stream(int fd, struct connection *c, const struct route *route) {
    struct timespec every = {pace / 1000000, pace % 1000000 * 1000};
    struct itimerspec at = {every, every};
    c->streaming = route;
    c->next = 0;
    c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    if (c->timer < 0 || timerfd_settime(c->timer, 0, &at, NULL)) die("timer");
    watch(c->timer);
    ticks_for[c->timer] = fd;
    return send_all(fd, route->open.data, route->open.size) && send_piece(fd, c);
}

static void tick(int timer) {
    int fd = ticks_for[timer];
    if (read(timer, &(uint64_t){0}, 8) == 8 && !send_piece(fd, &connections[fd])) hang_up(fd);
}

/* ── requests ── */

/* The bodies come from a load generator and from gateways: no need for a JSON parser. */
static bool wants_stream(const char *body, size_t size) {
    const char *at = memmem(body, size, "\"stream\"", 8);
    if (!at) return false;
    return at[8 + strspn(at + 8, " :")] == 't';
}

static bool respond(int fd, struct connection *c, const char *head, const char *body, size_t size) {
    char method[8], path[256];
    if (sscanf(head, "%7s %255[^? ]", method, path) != 2) return false;
    if (sscanf(path, "/play/%d/%ld", &pieces, &pace) == 2) return send_status(fd, "200 OK", pieces);
    if (strcmp(path, "/served") == 0) return send_status(fd, "200 OK", served);
    const struct route *route = find_route(method, path);
    if (!route) return send_status(fd, "404 Not Found", 404);
    served += *method == 'P';
    if (route->open.data && (!route->answer.data || wants_stream(body, size))) return begin_stream(fd, c, route);
    if (route->mark.data && memmem(body, size, route->mark.data, route->mark.size)) {
        return send_all(fd, route->marked.data, route->marked.size);
    }
    return send_all(fd, route->answer.data, route->answer.size);
}

/* Answer the request in the buffer if it is complete. Nobody here sends the next one before they have the answer. */
static bool take_request(int fd, struct connection *c) {
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end) return true;
    char *length = strcasestr(c->in, "\ncontent-length:");
    bool sized = length && length < end;
    size_t head = (size_t)(end + 4 - c->in), size = sized ? strtoul(length + 16, NULL, 10) : 0;
    if (*c->in == 'P' && !sized) return send_status(fd, "411 Length Required", 411) && false;
    if (c->size < head + size) return true;
    c->size = 0;
    return respond(fd, c, c->in, c->in + head, size);
}

static void receive(int fd) {
    struct connection *c = &connections[fd];
    ssize_t got = recv(fd, c->in + c->size, LONGEST_REQUEST - c->size, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got > 0) {
        c->size += (size_t)got;
        c->in[c->size] = 0;
    }
    if (got <= 0 || c->streaming || !take_request(fd, c)) hang_up(fd);
}

int main(int count, char **arguments) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (count != 2) return 2;
    load_routes(arguments[1]);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, MAX_FDS)) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    events = epoll_create1(0);
    watch(listener);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event ready[256];
        int found = epoll_wait(events, ready, 256, -1);
        for (int i = 0; i < found; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener)
                greet(fd);
            else if (ticks_for[fd])
                tick(fd);
            else
                receive(fd);
        }
    }
}
