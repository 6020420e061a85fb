/*
 * A fake provider, fast enough not to matter: it plays back bytes that were prepared for it.
 *
 *     upstream FOLDER
 *
 * FOLDER/routes has a line "METHOD PREFIX SUFFIX NAME" for each route (the first that fits the path counts) and
 * FOLDER/NAME.* what is sent there, HTTP framing included:
 *     .answer                    a whole response
 *     .open .piece .close .end   a stream: its beginning, one piece (in which the first "0000" becomes the piece's
 *                                number), what closes it, and its end; .usage comes in between if the request asked
 * A route with both streams if the body says "stream": true. The length of a stream is the request's token limit.
 * GET /pace/N sets the microseconds between two pieces, GET /served tells how many POSTs were answered.
 * The port is chosen by the system and printed. One thread, loopback only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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
#include <time.h>
#include <unistd.h>

enum { MAX_ROUTES = 64, MAX_FDS = 4096, MAX_PIECES = 9999, DEFAULT_PIECES = 16, LONGEST_PIECE = 1024, BUFFER = 1 << 16 };

struct blob {
    char *data;
    size_t size;
};

struct route {
    char method[8], prefix[64], suffix[64];
    struct blob answer, open, piece, close, usage, end;
    size_t number_at;
};

struct connection {
    char *in;
    size_t size, room;
    const struct route *streaming; /* NULL: waiting for a request */
    int next, pieces;
    bool usage;
    int64_t due;
};

static struct route routes[MAX_ROUTES];
static int route_count;
static struct connection connections[MAX_FDS]; /* by file descriptor */
static int streams[MAX_FDS], stream_count;     /* the descriptors that are streaming */
static int events, timer;
static int64_t pace = 10 * 1000 * 1000; /* nanoseconds */
static long served;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
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
    blob.data = malloc(blob.size + 1);
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
    while (route_count < MAX_ROUTES &&
           fscanf(file, "%7s %63s %63s %63s", route->method, route->prefix, route->suffix, name) == 4) {
        route->answer = load(folder, name, "answer");
        route->open = load(folder, name, "open");
        route->piece = load(folder, name, "piece");
        route->close = load(folder, name, "close");
        route->usage = load(folder, name, "usage");
        route->end = load(folder, name, "end");
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
    size_t length = strcspn(path, "?");
    for (int i = 0; i < route_count; i++) {
        const struct route *route = &routes[i];
        size_t prefix = strlen(route->prefix), suffix = strlen(route->suffix);
        if (strcmp(method, route->method) == 0 && length >= prefix + suffix &&
            memcmp(path, route->prefix, prefix) == 0 && memcmp(path + length - suffix, route->suffix, suffix) == 0)
            return route;
    }
    return NULL;
}

/* ── connections ── */

static void hang_up(int fd) {
    for (int i = 0; i < stream_count; i++)
        if (streams[i] == fd) streams[i--] = streams[--stream_count];
    free(connections[fd].in);
    memset(&connections[fd], 0, sizeof connections[fd]);
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

static bool send_status(int fd, const char *status, const char *text) {
    char answer[256];
    int size = snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\ncontent-length: %zu\r\n\r\n%s", status, strlen(text), text);
    return send_all(fd, answer, (size_t)size);
}

/* ── streams ── */

static void arm(void) {
    struct itimerspec at = {{0, 0}, {0, 0}};
    int64_t due = INT64_MAX;
    for (int i = 0; i < stream_count; i++)
        if (connections[streams[i]].due < due) due = connections[streams[i]].due;
    if (stream_count) {
        at.it_value.tv_sec = due / 1000000000LL;
        at.it_value.tv_nsec = due % 1000000000LL;
    }
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static bool send_piece(int fd, struct connection *c) {
    const struct route *route = c->streaming;
    if (c->next < c->pieces) {
        char piece[LONGEST_PIECE], number[16];
        snprintf(number, sizeof number, "%04d", c->next++);
        memcpy(piece, route->piece.data, route->piece.size);
        memcpy(piece + route->number_at, number, 4);
        return send_all(fd, piece, route->piece.size);
    }
    c->streaming = NULL;
    return send_all(fd, route->close.data, route->close.size) &&
           (!c->usage || send_all(fd, route->usage.data, route->usage.size)) &&
           send_all(fd, route->end.data, route->end.size);
}

static void play(void) {
    int64_t moment = now();
    for (int i = stream_count - 1; i >= 0; i--) {
        int fd = streams[i];
        struct connection *c = &connections[fd];
        if (c->due > moment) continue;
        c->due += pace;
        if (!send_piece(fd, c))
            hang_up(fd);
        else if (!c->streaming)
            streams[i] = streams[--stream_count];
    }
    arm();
}

/* ── requests ── */

/* Where the value of a field begins, or NULL. The bodies come from a load generator: no need for a JSON parser. */
static const char *field(const char *body, size_t size, const char *quoted) {
    const char *at = memmem(body, size, quoted, strlen(quoted));
    if (!at) return NULL;
    for (at += strlen(quoted); *at == ' ' || *at == ':'; at++) {}
    return at;
}

static int pieces_of(const char *body, size_t size) {
    static const char *names[] = {"\"max_tokens\"", "\"max_completion_tokens\"", "\"maxOutputTokens\"", "\"num_predict\""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = field(body, size, names[i]);
        int pieces = value ? atoi(value) : 0;
        if (pieces > 0) return pieces < MAX_PIECES ? pieces : MAX_PIECES;
    }
    return DEFAULT_PIECES;
}

static bool begin_stream(int fd, struct connection *c, const struct route *route, const char *body, size_t size) {
    const char *usage = field(body, size, "\"include_usage\"");
    *c = (struct connection){c->in, c->size, c->room, route, 0, pieces_of(body, size), false, now() + pace};
    c->usage = route->usage.data && usage && *usage == 't';
    streams[stream_count++] = fd;
    bool sent = send_all(fd, route->open.data, route->open.size) && send_piece(fd, c);
    arm();
    return sent;
}

static bool respond(int fd, struct connection *c, const char *head, const char *body, size_t size) {
    char method[8], path[256], text[32];
    if (sscanf(head, "%7s %255s", method, path) != 2) return false;
    if (strncmp(path, "/pace/", 6) == 0) {
        pace = atoll(path + 6) * 1000;
        return send_status(fd, "200 OK", "");
    }
    if (strcmp(path, "/served") == 0) {
        snprintf(text, sizeof text, "%ld", served);
        return send_status(fd, "200 OK", text);
    }
    const struct route *route = find_route(method, path);
    if (!route) {
        fprintf(stderr, "no route: %s %s\n", method, path);
        return send_status(fd, "404 Not Found", "");
    }
    served += *method == 'P';
    const char *stream = field(body, size, "\"stream\"");
    if (route->open.data && (!route->answer.data || (stream && *stream == 't')))
        return begin_stream(fd, c, route, body, size);
    return send_all(fd, route->answer.data, route->answer.size);
}

/* Answer the first request in the buffer, if it is complete. */
static bool take_request(int fd, struct connection *c) {
    char *end = memmem(c->in, c->size, "\r\n\r\n", 4);
    if (!end || c->streaming) return true;
    *end = 0;
    const char *length = strcasestr(c->in, "\ncontent-length:");
    bool chunked = strcasestr(c->in, "\ntransfer-encoding:") != NULL;
    size_t head = (size_t)(end + 4 - c->in), size = length ? strtoul(length + 16, NULL, 10) : 0;
    if (chunked) return send_status(fd, "411 Length Required", "") && false;
    if (c->size < head + size) {
        *end = '\r';
        return true;
    }
    if (!respond(fd, c, c->in, c->in + head, size)) return false;
    c->size -= head + size;
    memmove(c->in, c->in + head + size, c->size + 1);
    return c->size == 0 || take_request(fd, c);
}

static void receive(int fd) {
    struct connection *c = &connections[fd];
    if (c->room - c->size < BUFFER) {
        c->room = c->room ? 2 * c->room : 2 * BUFFER;
        c->in = realloc(c->in, c->room);
        if (!c->in) die("memory");
    }
    ssize_t got = recv(fd, c->in + c->size, c->room - c->size - 1, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got > 0) {
        c->size += (size_t)got;
        c->in[c->size] = 0;
    }
    if (got <= 0 || !take_request(fd, c)) hang_up(fd);
}

static void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(events, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

static void greet(int listener) {
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    if (fd >= MAX_FDS) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(fd);
}

int main(int count, char **arguments) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (count != 2) return 2;
    load_routes(arguments[1]);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024)) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    events = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    watch(listener);
    watch(timer);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event ready[256];
        int found = epoll_wait(events, ready, 256, -1);
        for (int i = 0; i < found; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener)
                greet(fd);
            else if (fd != timer)
                receive(fd);
            else if (read(timer, &(uint64_t){0}, 8) == 8)
                play();
        }
    }
}
