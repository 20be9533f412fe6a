/* heads.h: attention as stages: whose queries and keys a firing has, and where a
 * head's keys and values lie.
 *
 * What 16 queries compute is attention.h's. Here a head's work is cut into units,
 * of which a tile may have some: unit j of `split` has the groups j, j + split,
 * j + 2 split ... of a sequence, so that each has as many early ones, which see
 * few keys, as late ones:
 *
 *     split 2    unit 0   | group 0 |         | group 2 |         | group 4 |
 *                unit 1   |         | group 1 |         | group 3 |         |
 *
 * Of `attention` and `attention dq` they are groups of queries, of `attention keys` and
 * `attention dk dv` groups of keys. No sum is cut: a
 * query's runs over all keys in order, wherever these lie; a key's gradient is
 * made where the key is. Off chip everything lies in the edges themselves. */
#ifndef HEADS_H
#define HEADS_H
#include "attention.h"
#include "firing.h"

static inline size_t gpt_head_size(const GptRun *r) {
    return r->m->c.C / r->m->c.NH;
}
/* Some units of one head: its units j0 .. j1-1, of `split`. */
typedef struct {
    size_t h, j0, j1, split;
} GptHeadUnits;

/* The units of a firing from `unit` on that are of one head. */
static inline GptHeadUnits gpt_head_of(const Firing *f, size_t unit) {
    const size_t split = f->stage->split;
    const size_t j = unit % split;
    return (GptHeadUnits){unit / split, j, size_min(split, j + f->end - unit),
                     split};
}
/* Whether they have group n of the sequence. */
static inline bool gpt_has(const GptHeadUnits *head, size_t n) {
    const size_t j = n % head->split;
    return head->j0 <= j && j < head->j1;
}
/* Groups of a sequence that one of `split` units has, at most. */
static inline size_t gpt_groups_each(size_t groups, size_t split) {
    return (groups + split - 1) / split;
}
/* The keys of head h of the sequence's group 0, in a panel of q, k, v. */
static inline float *gpt_keys(const Firing *f, SpPanel qkv, size_t h) {
    return qkv.lines - f->panel.first * qkv.stride +
           (f->r->m->c.C + h * gpt_head_size(f->r)) * LINE;
}
/* Head h's memory where the edges are: nothing is copied. */
static inline AttMemory gpt_in_edges(const Firing *f, SpPanel qkv, SpPanel dqkv,
                                     size_t h) {
    const size_t values = f->r->m->c.C * LINE;      /* from a key to its value */
    float *k = gpt_keys(f, qkv, h);
    float *dk = gpt_keys(f, dqkv, h);
    return (AttMemory){.edge = {k, k + values, dk, dk + values},
                       .stride = qkv.stride};
}
/* Head h's memory, on chip or off. */
static inline AttMemory gpt_memory(const Firing *f, SpPanel qkv, SpPanel dqkv,
                                   size_t h) {
    const DfPart *keeper = f->keeper;
    if (!keeper) return gpt_in_edges(f, qkv, dqkv, h);
    const size_t split = keeper->s.units / f->r->m->c.NH;
    const size_t each = gpt_groups_each(f->r->program.groups, split);
    return (AttMemory){.stride = keeper->s.state / each * LINE,
                       .keeper = keeper,
                       .place = f->kept,
                       .first = h * split,
                       .split = split,
                       .each = each,
                       .one = gpt_head_size(f->r) * LINE};
}
/* A worker's room for the scores of a head: of each of a panel's groups of queries those
 * of all keys. */
static inline SpPanel gpt_room(const Firing *f) {
    const Program *p = &f->r->program;
    const size_t each = p->groups * LINE * LINE;
    return (SpPanel){.lines = f->r->scratch + f->worker * p->panel * each, .stride = each};
}
/* Head h's queries of group g. soft: maximum and 1 / sum, two lines a head. */
static inline AttQueries gpt_queries(const Firing *f, SpPanel qkv, SpPanel att,
                                     SpPanel soft, size_t g, size_t h) {
    const size_t hs = gpt_head_size(f->r);
    const size_t l = f->stage->df.layer;
    Drop drop = {.below = 0};
    if (f->r->dropping)
        drop = drop_head(&f->r->dropout, gpt_layer(l, QKVW), h,
                         gpt_sequence(f));
    return (AttQueries){
        .drop = drop,
        .n = f->panel.first + g + 1,
        .hs = hs,
        .scale = 1 / sqrtf((float)hs),
        .query = panel_from(qkv, g, h * hs),
        .out = panel_from(att, g, h * hs),
        .max = panel_line(soft, g, 2 * h),
        .rsum = panel_line(soft, g, 2 * h + 1),
    };
}
/* Head h's keys and values of group g of a panel become the tile's, as group
 * k. */
static inline void gpt_remember(const Firing *f, const AttMemory *m,
                                SpPanel qkv, size_t g, size_t k, size_t h) {
    const size_t C = f->r->m->c.C;
    const size_t hs = gpt_head_size(f->r);
    att_remember(att_group(m, ATT_KEY, k), panel_from(qkv, g, C + h * hs), hs);
    att_remember(att_group(m, ATT_VALUE, k),
                 panel_from(qkv, g, 2 * C + h * hs), hs);
}
/* Keys and values of a panel go to the tiles that keep them. */
static inline void gpt_attention_keys(const Firing *f) {
    const SpPanel qkv = gpt_in(f, 0);
    GptHeadUnits head;
    for (size_t unit = f->unit; unit < f->end; unit += head.j1 - head.j0) {
        head = gpt_head_of(f, unit);
        const AttMemory m = gpt_memory(f, qkv, qkv, head.h);
        for (size_t g = 0; g < f->panel.groups; g++) {
            const size_t n = f->panel.first + g;
            if (gpt_has(&head, n)) gpt_remember(f, &m, qkv, g, n, head.h);
        }
    }
}
/* att (C) = softmax(q k / sqrt(hs)) v for the heads of units unit .. end-1 and
 * those groups of a panel's queries that are theirs */
static inline void gpt_attention(const Firing *f) {
    const SpPanel qkv = gpt_in(f, 0);
    const SpPanel att = gpt_out(f, 0);
    const SpPanel soft = gpt_side(f, 0);
    const SpPanel room = f->scratch ? (SpPanel){.lines = f->scratch} : gpt_room(f);
    const size_t each = f->scratch ? 1 : f->panel.groups;   /* a tile has room for one */
    AttQueries q[GROUPS_MAX];
    GptHeadUnits head;
    for (size_t unit = f->unit; unit < f->end; unit += head.j1 - head.j0) {
        head = gpt_head_of(f, unit);
        const AttMemory m = gpt_memory(f, qkv, qkv, head.h);
        for (size_t g = 0; g < f->panel.groups; g += each) {
            if (!gpt_has(&head, f->panel.first + g)) continue;
            for (size_t k = 0; k < each; k++)
                q[k] = gpt_queries(f, qkv, att, soft, g + k, head.h);
            att_forward(q, each, &m, room);
        }
    }
}
/* Whether dq is made with dk and dv: a tile has all keys of a head, and the
 * derivatives of its scores at hand. */
static inline bool gpt_dquery_at_once(const AttMemory *m) {
    return m->keeper && att_whole(m);
}
/* Whether the derivatives of a head's scores lie in a worker's room: then the same task reads
 * them. Else they lie in an edge. On the chip that has its memory either way; the room is
 * faster, for it stays in the cache. */
static inline bool gpt_in_room(const AttMemory *m) {
    return !m->keeper || gpt_dquery_at_once(m);
}
/* The derivatives (16 keys, 16 queries) of a head's scores, of group n of its keys and of a
 * panel's queries: in such a room, or in an edge, by the units of the part that makes it. */
static inline SpPanel gpt_dscores(const Firing *f, int edge, const AttMemory *m, size_t n) {
    if (gpt_in_room(m)) return att_of(gpt_room(f), 0, n);
    const SpPanel ds = gpt_panel_of(f, edge);
    return (SpPanel){.lines = panel_line(ds, 0, att_place(m, n) * LINE), .stride = ds.stride};
}
/* Before the first panel of the backward stream that a sequence's heads see: dk
 * and dv are 0, and keys and values come on the chip. */
static inline void gpt_attention_begin(const Firing *f, const AttMemory *m,
                                       SpPanel qkv, const GptHeadUnits *head) {
    const size_t bytes = gpt_head_size(f->r) * LINE * sizeof(float);
    SpPanel sequence = qkv;
    sequence.lines -= f->panel.first * qkv.stride;
    for (size_t k = 0; k < f->r->groups; k++) {
        if (!gpt_has(head, k)) continue;
        memset(att_group(m, ATT_DKEY, k), 0, bytes);
        memset(att_group(m, ATT_DVALUE, k), 0, bytes);
        if (m->keeper) gpt_remember(f, m, sequence, k, k, head->h);
    }
}
/* dq = sum of dscore key, keys in order, of a panel's queries: of those that are the units',
 * or of all if the derivatives of the scores are in a room, not in that edge. */
static inline void gpt_dquery(const Firing *f, const AttMemory *m, SpPanel dqkv,
                              int edge, const GptHeadUnits *head) {
    const size_t hs = gpt_head_size(f->r);
    const SpPanel dq = panel_from(dqkv, 0, head->h * hs);
    if (gpt_in_room(m)) {
        att_mix_all(dq, m, ATT_KEY, f->panel.first + 1, gpt_room(f), hs, f->panel.groups);
        return;
    }
    for (size_t g = 0; g < f->panel.groups; g++) {
        if (!gpt_has(head, f->panel.first + g)) continue;
        for (size_t k = 0; k <= f->panel.first + g; k++)
            att_mix(sp_group(dq, g), m, ATT_KEY, k, 1,
                    sp_group(gpt_dscores(f, edge, m, k), g), hs, 1);
    }
}
/* What a panel's queries, last group first, contribute to dk and dv of the keys
 * of some units of a head. */
static inline void gpt_attention_head(const Firing *f, const AttMemory *m,
                                      const GptHeadUnits *head) {
    const size_t at = head->h * gpt_head_size(f->r);
    const size_t groups = f->panel.groups;
    const int edge = f->stage->df.out[1];
    const SpPanel datt = gpt_in(f, 0);
    const SpPanel qkv = gpt_side(f, 1);
    float dot[GROUPS_MAX][LINE] __attribute__((aligned(64)));
    AttQueries q[GROUPS_MAX];
    for (size_t g = 0; g < groups; g++) {
        q[g] = gpt_queries(f, qkv, gpt_in(f, 1), gpt_side(f, 0), g, head->h);
        q[g].dout = panel_from(datt, g, at);
        att_softmax_dot(dot[g], &q[g]);
    }
    for (size_t k = 0, n; k < f->panel.first + groups; k += n) {
        const size_t g = k < q->n ? 0 : k + 1 - q->n;   /* the first that sees them */
        const SpPanel ds = sp_group(gpt_dscores(f, edge, m, k), g);
        n = gpt_in_room(m) && k + WIDE <= q->n ? WIDE : 1;
        if (gpt_has(head, k)) att_backward(q + g, groups - g, m, k, n, dot + g, ds);
    }
    if (gpt_dquery_at_once(m)) gpt_dquery(f, m, gpt_out(f, 0), edge, head);
}
/* dk and dv of the keys of units unit .. end-1, which are complete with the
 * panel that they lie in, and the derivatives of the scores. */
static inline void gpt_attention_data(const Firing *f) {
    const size_t C = f->r->m->c.C;
    const size_t hs = gpt_head_size(f->r);
    const SpPanel dqkv = gpt_out(f, 0);
    const SpPanel qkv = gpt_side(f, 1);
    GptHeadUnits head;
    for (size_t unit = f->unit; unit < f->end; unit += head.j1 - head.j0) {
        head = gpt_head_of(f, unit);
        const size_t at = head.h * hs;
        const AttMemory m = gpt_memory(f, qkv, dqkv, head.h);
        if (f->panel.first + f->panel.groups == f->r->groups)
            gpt_attention_begin(f, &m, qkv, &head);
        gpt_attention_head(f, &m, &head);
        for (size_t g = 0; g < f->panel.groups && m.keeper; g++) {
            const size_t k = f->panel.first + g;
            if (!gpt_has(&head, k)) continue;
            att_recall(panel_from(dqkv, g, C + at),
                       att_group(&m, ATT_DKEY, k), hs);
            att_recall(panel_from(dqkv, g, 2 * C + at),
                       att_group(&m, ATT_DVALUE, k), hs);
        }
    }
}
/* dq of those groups of a panel's queries that are units unit .. end-1's, unless it
 * is made already. */
static inline void gpt_attention_queries(const Firing *f) {
    const SpPanel dqkv = gpt_out(f, 0);
    const SpPanel qkv = gpt_side(f, 0);
    GptHeadUnits head;
    for (size_t unit = f->unit; unit < f->end; unit += head.j1 - head.j0) {
        head = gpt_head_of(f, unit);
        const AttMemory m = gpt_memory(f, qkv, dqkv, head.h);
        if (!gpt_dquery_at_once(&m))
            gpt_dquery(f, &m, dqkv, f->stage->df.in[1], &head);
    }
}
#endif
