/*
 * Making segments and taking names away.
 *
 * Nothing can be found before it is complete. A posix segment has no name
 * until its header is written and its lock held; a sysv segment can be found
 * from shmget() on, but its magic is written last, after its contents, since other
 * users pass no gate; its maker holds the gate of the name, and its key stands in the
 * journal before it exists.
 */
#include "segment/cache.h"
#include "segment/header.h"

#include "base/point.h"
#include "segment/fill.h"
#include "segment/lifetime.h"
#include "segment/segment.h"
#include "segment/sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct smem__birth {
    smem_context *ctx;
    const smem_spec *spec;
    const char *name;
    bool named;
    char *header; /* header and dtype text as they will stand in the segment */
    size_t header_size;
    smem__found found;
    smem__gate gate; /* entered when gate.file.fd >= 0 */
} smem__birth;

static smem__layout *smem__birth_layout(smem__birth *birth)
{
    return (smem__layout *)birth->header;
}

static int smem__birth_header(smem__birth *birth)
{
    smem_context *ctx = birth->ctx;
    const smem_spec *spec = birth->spec;
    size_t dtype_length = spec->dtype ? strnlen(spec->dtype, SMEM_DTYPE_MAX) : 0;
    birth->header_size = sizeof(smem__layout) + dtype_length;
    birth->header = calloc(1, birth->header_size);
    if (!birth->header)
        return -ENOMEM;
    smem__layout *header = smem__birth_layout(birth);
    int rc = smem__header_make(spec, ctx->place.page, header);
    if (rc == 0)
        rc = smem__random(&header->nonce, sizeof header->nonce);
    if (rc != 0)
        return rc;
    header->nonce |= header->nonce == 0;
    if (ctx->cache.bound == 0) /* nobody would give it out again: it may as well be seen */
        header->state = SMEM__PUBLISHED;
    header->family = ctx->family.tag;
    header->created = smem__now();
    header->place = ctx->place.device;
    header->name_length = (uint32_t)strlen(birth->name);
    memcpy(header->boot, ctx->place.boot, sizeof header->boot);
    memcpy(header->name, birth->name, header->name_length);
    memcpy(birth->header + sizeof *header, spec->dtype, dtype_length); /* NOLINT: a dtype is there, or no header had been made */
    return 0;
}

/* ---- the name's old segment ------------------------------------------------ */

/* Without the gate there is no SysV segment of the name, and none can come. */
static bool smem__passes_over(const smem__birth *birth, const smem__backend *backend)
{
    return backend->needs_gate && birth->gate.file.fd < 0;
}

/* Stale ones go; a living one stays: SMEM_E_EXISTS unless it may be replaced. */
static int smem__clear_name(smem__birth *birth)
{
    smem_context *ctx = birth->ctx;
    bool replace = birth->spec->flags & SMEM_REPLACE;
    for (const smem__backend *const *b = smem__name_backends(SMEM_ANY); *b; b++) {
        smem__found old;
        if (smem__passes_over(birth, *b))
            continue;
        int rc = smem__find_on(ctx, *b, birth->name, ctx->place.uid, SMEM__TAKE, &old);
        if (rc == -ENOENT)
            continue;
        if (rc != 0)
            return rc;
        smem__found_close(&old);
        smem__target target = {.backend = *b, .candidate = old.candidate, .name = birth->name};
        rc = smem__last_one_out(ctx, &target, &birth->gate, NULL);
        SMEM__POINT("create.cleared", "a stale segment of the name is gone, a living one is not");
        if (rc != 1 && rc != -ENOENT && !replace)
            return rc == 0 || rc == -EBUSY ? SMEM_E_EXISTS : rc;
    }
    return 0;
}

/* After the new segment stands: take the name from all others that have it. */
static int smem__displace(smem__birth *birth, uint64_t keep)
{
    smem_context *ctx = birth->ctx;
    for (const smem__backend *const *b = smem__name_backends(SMEM_ANY); *b; b++) {
        smem__found old = {.backend = *b};
        if (smem__passes_over(birth, *b))
            continue;
        for (; old.candidate < (*b)->candidates; old.candidate++) {
            int rc = smem__find_candidate(ctx, birth->name, ctx->place.uid, SMEM__TAKE, &old);
            if (rc == -ENOENT)
                continue;
            if (rc != 0)
                return rc;
            if (old.header.nonce != keep)
                rc = smem__take_name(ctx, &old, birth->name, &birth->gate);
            smem__found_close(&old);
            if (rc != 0 && rc != -ENOENT)
                return rc;
            SMEM__POINT("create.displaced", "one older segment of the name has it no more");
        }
    }
    return 0;
}

/* ---- the new one ----------------------------------------------------------- */

static int smem__journal_birth(smem__birth *birth, uint32_t *slot)
{
    smem_context *ctx = birth->ctx;
    smem__layout *header = smem__birth_layout(birth);
    smem__entry entry;
    int rc = smem__journal_entry(ctx, birth->name, birth->found.candidate, header->nonce,
                                 header->size, header->created, &entry);
    if (rc != 0)
        return rc;
    smem__journal_renew(ctx, &birth->gate);
    rc = smem__journal_add(&birth->gate, &entry, slot);
    if (rc == 0)
        header->journal = *slot + 1;
    return rc;
}

static int smem__birth_object(smem__birth *birth)
{
    smem__found *found = &birth->found;
    const smem_spec *spec = birth->spec;
    smem__layout *header = smem__birth_layout(birth);
    uint32_t mode = spec->permissions ? spec->permissions : 0600;
    int rc = -EEXIST;
    for (found->candidate = 0; found->candidate < found->backend->candidates; found->candidate++) {
        uint32_t slot = 0;
        header->journal = 0;
        if (found->backend->needs_gate && (rc = smem__journal_birth(birth, &slot)) != 0)
            return rc;
        rc = found->backend->create(&birth->ctx->place, birth->name, found->candidate,
                                    header->size, mode, !(spec->flags & SMEM_NO_RESERVE),
                                    &found->object);
        if (rc != 0 && found->backend->needs_gate && !found->object.stays)
            smem__journal_remove(&birth->gate, slot, header->nonce);
        if (rc != -EEXIST)
            return rc;
    }
    return SMEM_E_LIMIT; /* all keys of this name are taken by strangers */
}

/* Header and contents, and the mapping through which they may come. */
static int smem__birth_write(smem__birth *birth, smem_segment **out)
{
    smem__found *found = &birth->found;
    uint64_t magic;
    memcpy(&magic, birth->header, sizeof magic);
    int rc = found->backend->poke(&found->object, birth->header + sizeof magic,
                                  birth->header_size - sizeof magic, sizeof magic);
    if (rc == 0)
        rc = smem__fill_object(found, birth->spec);
    if (rc == 0)
        rc = smem__map_new(birth->ctx, found, SMEM_READ_WRITE, out);
    if (rc != 0)
        return rc;
    if (found->object.resident && birth->spec->contents_size)
        smem__fill_mapped(birth->ctx, smem_data(*out), found->header.nbytes, birth->spec);
    SMEM__POINT("create.lacks-magic", "header and contents are written but for the magic");
    _Atomic uint64_t *first = (*out)->mapping.base;
    atomic_store_explicit(first, magic, memory_order_release);
    return 0;
}

static int smem__birth_publish(smem__birth *birth)
{
    bool replace = birth->named && birth->spec->flags & SMEM_REPLACE;
    int rc = birth->found.backend->publish(&birth->ctx->place, birth->name, replace,
                                           &birth->found.object);
    if (rc == -ENOENT)
        return SMEM_E_PLACE; /* no way to name a file here */
    if (rc != 0 || !replace)
        return rc == -EEXIST ? SMEM_E_EXISTS : rc;
    if (birth->gate.file.fd < 0)
        return 0; /* nothing else has it on sysv; on posix only who replaces this one by now */
    SMEM__POINT("create.published-beside", "the new segment stands; others may have its name");
    rc = smem__displace(birth, birth->found.header.nonce);
    if (rc != 0) { /* two of one name must not stay */
        smem__take_name(birth->ctx, &birth->found, birth->name, &birth->gate);
        SMEM__POINT("create.withdrawn", "an old one kept the name; the new one has none");
    }
    return rc;
}

static void smem__birth_undo(smem__birth *birth)
{
    smem__layout *header = smem__birth_layout(birth);
    bool discarded = birth->found.backend->discard(&birth->found.object) == 0;
    SMEM__POINT("create.discarded", "a create that failed has removed what it made");
    /* What could not be removed stays journalled: the sweep finds it. */
    if (discarded && header->journal)
        smem__journal_remove(&birth->gate, header->journal - 1, header->nonce);
}

static int smem__birth_on(smem__birth *birth, const smem__backend *backend, smem_segment **out)
{
    smem__found *found = &birth->found;
    found->backend = backend;
    int rc = smem__birth_object(birth);
    if (rc != 0)
        return rc;
    memcpy(&found->header, birth->header, sizeof found->header);
    found->dtype = birth->header + sizeof found->header;
    rc = smem__birth_write(birth, out);
    if (rc != 0) {
        smem__birth_undo(birth);
        return rc;
    }
    SMEM__POINT("create.complete", "complete and mapped; posix: without a name");
    rc = smem__birth_publish(birth);
    if (rc != 0) {
        smem__unmap_new(*out);
        *out = NULL;
        smem__birth_undo(birth);
        return rc;
    }
    SMEM__POINT("create.published", "the segment is found by its name");
    found->backend->close(&found->object);
    return 0;
}

static bool smem__is_full(int rc)
{
    return rc == SMEM_E_NO_ROOM || rc == SMEM_E_LIMIT;
}

/* Posix first; sysv where posix has no room or no place, if any will do. */
static int smem__birth_anywhere(smem__birth *birth, int backend, smem_segment **out)
{
    int rc = SMEM_E_PLACE;
    for (const smem__backend *const *b = smem__name_backends(backend); *b; b++) {
        if (smem__passes_over(birth, *b)) {
            int gate = smem__gate_enter(&birth->ctx->place, smem__name_gate(birth->name),
                                        SMEM__EXCLUSIVE, SMEM__LONG, &birth->gate);
            if (gate != 0) /* not to be had, where posix has no room */
                return rc == SMEM_E_NO_ROOM && gate == SMEM_E_JOURNAL ? rc : gate;
        }
        rc = smem__birth_on(birth, *b, out);
        if (smem__is_full(rc) && smem__cache_trim(birth->ctx, 0) > 0)
            rc = smem__birth_on(birth, *b, out);
        if (rc != SMEM_E_NO_ROOM && rc != SMEM_E_PLACE)
            return rc;
    }
    return rc;
}

static int smem__create_once(smem_context *ctx, const smem_spec *spec, const smem__name *name,
                             smem_segment **out)
{
    smem__birth birth = {.ctx = ctx, .spec = spec, .name = name->text, .named = spec->name};
    birth.gate.file.fd = -1;
    int rc = smem__birth_header(&birth);
    if (rc == 0 && birth.named) {
        rc = smem__gate_enter(&ctx->place, smem__name_gate(name->text), SMEM__EXCLUSIVE, SMEM__LONG,
                              &birth.gate);
        rc = smem__without_gate(ctx, name, rc);
        if (rc == 0)
            rc = smem__clear_name(&birth);
    }
    if (rc == 0)
        rc = smem__birth_anywhere(&birth, name->backend, out);
    if (birth.gate.file.fd >= 0)
        smem__gate_leave(&birth.gate);
    free(birth.header);
    return rc == 0 ? smem__table_enter(ctx, *out, out) : rc;
}

/* What fills the place may be what the dead left since the last sweep. */
static int smem__create(smem_context *ctx, const smem_spec *spec, const smem__name *name,
                        smem_segment **out)
{
    smem_reclaimed ignored;
    int rc = smem__create_once(ctx, spec, name, out);
    if (!smem__is_full(rc))
        return rc;
    smem__sweep(ctx, &ignored);
    return smem__create_once(ctx, spec, name, out);
}

static int smem__spec_check(const smem_spec *spec)
{
    const unsigned flags = SMEM_PERSISTENT | SMEM_REPLACE | SMEM_NO_RESERVE | SMEM_UNINITIALIZED |
                           SMEM_UNPUBLISHED;
    if ((spec->permissions && (spec->permissions & 0600) != 0600) || spec->permissions & ~0777u ||
        spec->flags & ~flags || (spec->contents_size && !spec->contents))
        return SMEM_E_ARGUMENT;
    return spec->backend < SMEM_ANY || spec->backend > SMEM_SYSV ? SMEM_E_ARGUMENT : 0;
}

/* Before a name is made: that takes a system call. */
static int smem__create_warm(smem_context *ctx, const smem_spec *spec, smem_segment **out)
{
    smem_segment *segment = smem__cache_reuse(ctx, spec, spec->backend);
    return segment ? smem__table_enter(ctx, segment, out) : -ENOENT;
}

int smem_create(smem_context *ctx, const smem_spec *spec, smem_segment **out)
{
    smem__name name;
    int rc = smem__spec_check(spec);
    smem__participate(ctx);
    if (rc == 0)
        rc = smem__begin_mapping(ctx);
    if (rc != 0)
        return rc;
    if (smem__create_warm(ctx, spec, out) != 0) {
        rc = smem__name_parse(spec->name, spec->backend, &name);
        if (rc == 0)
            rc = smem__create(ctx, spec, &name, out);
        ctx->counts.created += rc == 0;
    }
    smem__end(ctx);
    return rc;
}

/* Is the name, which says on which backend to look, taken on the other one? Only then
   attaching never finds what is in creating's way: without a prefix it looks on both. */
static bool smem__is_elsewhere(smem_context *ctx, const char *text)
{
    smem_info info;
    smem__name name;
    if (smem__name_parse(text, SMEM_ANY, &name) != 0 || name.backend == SMEM_ANY ||
        smem_stat(ctx, name.text, &info, NULL) != 0)
        return false;
    smem_info_clear(&info);
    return info.backend != name.backend;
}

int smem_attach_or_create(smem_context *ctx, const smem_spec *spec, smem_segment **out,
                          int *created)
{
    enum { TURNS = 1000 };
    smem__name name;
    int check = spec->name ? smem__spec_check(spec) : SMEM_E_NAME;
    if (check == 0)
        check = smem__name_parse(spec->name, spec->backend, &name);
    if (check != 0)
        return check;
    for (unsigned turn = 0; turn < TURNS; turn++) {
        int rc = smem_attach(ctx, spec->name, SMEM_READ_WRITE, out);
        *created = 0;
        if (rc != SMEM_E_NOT_FOUND)
            return rc;
        rc = smem_create(ctx, spec, out);
        *created = rc == 0;
        if (rc != SMEM_E_EXISTS || smem__is_elsewhere(ctx, spec->name))
            return rc;
        smem__backoff(turn);
    }
    return SMEM_E_BUSY;
}

/* ---- unlink ---------------------------------------------------------------- */

/* [nonce] not 0: only this very segment. */
static int smem__unlink_first(smem_context *ctx, const smem__name *name, uint64_t nonce,
                              const smem__gate *gate)
{
    smem__found found;
    int rc = smem__find(ctx, name, ctx->place.uid, SMEM__TAKE, gate, &found);
    if (rc != 0)
        return rc;
    if (nonce && nonce != found.header.nonce)
        rc = SMEM_E_REUSED;
    else
        rc = smem__take_name(ctx, &found, name->text, gate);
    smem__found_close(&found);
    return rc == -ENOENT ? SMEM_E_NOT_FOUND : rc;
}

/* Who died while replacing may have left two of one name: without a nonce the
   name leads nowhere when this has succeeded. */
static int smem__unlink(smem_context *ctx, const smem__name *name, uint64_t nonce)
{
    smem__gate gate;
    int rc = smem__gate_enter(&ctx->place, smem__name_gate(name->text), SMEM__EXCLUSIVE, SMEM__LONG,
                              &gate);
    const smem__gate *entered = rc == 0 ? &gate : NULL;
    rc = smem__without_gate(ctx, name, rc);
    if (rc != 0)
        return rc;
    rc = smem__unlink_first(ctx, name, nonce, entered);
    int more = rc == 0 && !nonce ? 0 : SMEM_E_NOT_FOUND;
    while (more == 0)
        more = smem__unlink_first(ctx, name, 0, entered);
    if (entered)
        smem__gate_leave(&gate);
    return rc == 0 && more != SMEM_E_NOT_FOUND ? more : rc;
}

int smem_unlink(smem_context *ctx, const char *text)
{
    smem__name name;
    int rc = smem__name_parse(text ? text : "", SMEM_ANY, &name);
    if (rc == 0)
        rc = smem__begin_change(ctx);
    if (rc != 0)
        return rc;
    rc = smem__unlink(ctx, &name, 0);
    smem__end(ctx);
    return rc;
}

int smem_unlink_segment(smem_segment *segment)
{
    smem_context *ctx = segment->ctx;
    smem__name name = {.text = segment->info.name, .backend = segment->info.backend};
    int rc = smem__begin_change(ctx);
    if (rc != 0)
        return rc;
    rc = segment->nameless ? SMEM_E_UNLINKED : smem__unlink(ctx, &name, segment->info.nonce);
    if (rc == SMEM_E_NOT_FOUND || rc == SMEM_E_REUSED)
        rc = SMEM_E_UNLINKED;
    if (rc == 0 || rc == SMEM_E_UNLINKED)
        segment->nameless = true;
    smem__end(ctx);
    return rc;
}
