#include "segment/lookup.h"

#include "segment/header.h"
#include "segment/lifetime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void smem__found_forget_dtype(smem__found *found)
{
    if (found->dtype != found->page + SMEM__DTYPE_AT)
        free(found->dtype);
    found->dtype = NULL;
}

/* A text that does not fit into the page is read apart. */
static int smem__found_read_dtype(smem__found *found)
{
    size_t length = found->header.dtype_length;
    found->dtype = found->page + SMEM__DTYPE_AT;
    if (length <= sizeof found->page - SMEM__DTYPE_AT)
        return 0;
    found->dtype = malloc(length);
    if (!found->dtype)
        return -ENOMEM;
    int rc = found->backend->read(&found->object, found->dtype, length, SMEM__DTYPE_AT);
    if (rc != 0)
        smem__found_forget_dtype(found);
    return rc;
}

int smem__found_read(smem__found *found)
{
    found->dtype = NULL;
    int rc = found->backend->read(&found->object, found->page, sizeof found->page, 0);
    if (rc == 0)
        rc = smem__header_check(&found->header, found->object.size);
    return rc ? rc : smem__found_read_dtype(found);
}

void smem__found_close(smem__found *found)
{
    smem__found_forget_dtype(found);
    found->backend->close(&found->object);
}

int smem__found_info(smem_context *ctx, const smem__found *found, smem_info *out)
{
    int rc = smem__header_info(&found->header, found->dtype, out);
    if (rc != 0)
        return rc;
    out->backend = found->backend->number;
    out->owner = found->object.file.uid;
    out->permissions = found->object.file.mode;
    out->kernel_id = found->object.kernel_id;
    out->origin = smem_origin(ctx, out->backend);
    out->mapped = found->object.mapped;
    out->idle = found->header.state == SMEM__IDLE;
    out->elsewhere = found->header.place != ctx->place.device;
    return 0;
}

bool smem__has_name(const smem__layout *header, const char *name)
{
    return strlen(name) == header->name_length &&
           memcmp(header->name, name, header->name_length) == 0;
}

static int smem__find_candidate_once(smem_context *ctx, const char *name, uint32_t owner,
                                     enum smem__reach reach, smem__found *out)
{
    int rc = out->backend->open(&ctx->place, name, out->candidate, owner, reach, &out->object);
    if (rc != 0)
        return rc;
    rc = smem__found_read(out);
    if (rc == 0 && smem__has_name(&out->header, name))
        return 0;
    /* On a shared key stands somebody else's segment, or one whose maker died
       before it was complete. */
    if (out->backend->needs_gate && (rc == 0 || rc == SMEM_E_FORMAT))
        rc = -ENOENT;
    /* Its owner may have renamed it since it was opened, and be writing. */
    else if (rc == 0 || rc == SMEM_E_FORMAT)
        rc = out->backend->is_at(&ctx->place, name, &out->object) ? SMEM_E_FORMAT : -EAGAIN;
    smem__found_close(out);
    return rc;
}

int smem__find_candidate(smem_context *ctx, const char *name, uint32_t owner, enum smem__reach reach,
                         smem__found *out)
{
    out->object = (smem__object){.file = {.fd = -1}}; /* what is refused tells nothing of itself */
    for (unsigned turn = 0;; turn++) {
        int rc = smem__find_candidate_once(ctx, name, owner, reach, out);
        if (rc != -EAGAIN)
            return rc;
        bool others = owner != ctx->place.uid || smem__others_can_lock(&out->object.file);
        if (turn >= (unsigned)(others ? SMEM__SHORTLY : SMEM__LONG))
            return SMEM_E_BUSY;
        smem__backoff(turn);
    }
}

int smem__find_on(smem_context *ctx, const smem__backend *backend, const char *name,
                  uint32_t owner, enum smem__reach reach, smem__found *out)
{
    int rc = -ENOENT;
    out->backend = backend;
    for (out->candidate = 0; out->candidate < backend->candidates; out->candidate++) {
        rc = smem__find_candidate(ctx, name, owner, reach, out);
        if (rc != -ENOENT)
            break;
    }
    return rc;
}

int smem__find(smem_context *ctx, const smem__name *name, uint32_t owner, enum smem__reach reach,
               const smem__gate *gate, smem__found *out)
{
    for (const smem__backend *const *b = smem__name_backends(name->backend); *b; b++) {
        if ((*b)->needs_gate && !gate && owner == ctx->place.uid)
            continue;
        int rc = smem__find_on(ctx, *b, name->text, owner, reach, out);
        if (rc != -ENOENT)
            return rc;
    }
    return SMEM_E_NOT_FOUND;
}

int smem__without_gate(smem_context *ctx, const smem__name *name, int rc)
{
    smem__found found;
    if (rc != SMEM_E_SECURITY)
        return rc;
    int there = smem__find_on(ctx, &smem__sysv, name->text, ctx->place.uid, SMEM__LOOK, &found);
    if (there == 0)
        smem__found_close(&found);
    return there == -ENOENT ? 0 : there == 0 ? rc
                                             : there;
}

int smem__find_any(smem_context *ctx, const smem__name *name, uint32_t owner, enum smem__reach reach,
                   smem__gate *gate, smem__found *out)
{
    gate->file.fd = -1;
    int rc = smem__find(ctx, name, owner, reach, NULL, out);
    if (rc != SMEM_E_NOT_FOUND || owner != ctx->place.uid)
        return rc;
    rc = smem__gate_enter(&ctx->place, smem__name_gate(name->text), SMEM__SHARED, SMEM__LONG, gate);
    if (rc != 0) {
        gate->file.fd = -1;
        rc = smem__without_gate(ctx, name, rc);
        return rc ? rc : SMEM_E_NOT_FOUND;
    }
    rc = smem__find(ctx, name, owner, reach, gate, out);
    if (rc != 0)
        smem__gate_leave(gate);
    return rc;
}

void smem__found_release(smem__found *found, smem__gate *gate)
{
    smem__found_close(found);
    if (gate->file.fd >= 0)
        smem__gate_leave(gate);
}

int smem__stat(smem_context *ctx, const smem__name *name, smem_info *info, smem_flight *flight)
{
    smem__gate gate;
    smem__found found;
    int rc = smem__find_any(ctx, name, ctx->place.uid, SMEM__LOOK, &gate, &found);
    if (rc != 0)
        return rc;
    rc = smem__found_info(ctx, &found, info);
    if (rc == 0 && flight)
        smem__count_flight(ctx, &found.header, flight);
    smem__found_release(&found, &gate);
    return rc;
}

int smem_stat(smem_context *ctx, const char *text, smem_info *info, smem_flight *flight)
{
    smem__name name;
    int rc = smem__name_parse(text ? text : "", SMEM_ANY, &name);
    if (rc == 0)
        rc = smem__begin(ctx);
    if (rc != 0)
        return rc;
    rc = smem__stat(ctx, &name, info, flight);
    smem__end(ctx);
    return rc;
}
