#include "contract.h"

#include <stdlib.h>
#include <string.h>

int backend;

int other_backend(void)
{
    return SMEM_POSIX + SMEM_SYSV - backend;
}

static const int64_t vector_shape[] = {COLUMNS};

smem_spec vector(const char *name)
{
    return (smem_spec){.name = name,
                       .backend = backend,
                       .dtype = "'<f8'",
                       .itemsize = sizeof(double),
                       .ndim = 1,
                       .shape = vector_shape};
}

smem_segment *create(smem_context *ctx, const char *name)
{
    smem_segment *segment;
    smem_spec spec = vector(name);
    CHECK_OK(smem_create(ctx, &spec, &segment));
    CHECK_EQ(smem_info_of(segment)->backend, backend);
    return segment;
}

int try_create(smem_context *ctx, const char *name, unsigned flags, smem_segment **out)
{
    smem_spec spec = vector(name);
    spec.flags = flags;
    return smem_create(ctx, &spec, out);
}

smem_segment *attach(smem_context *ctx, const char *name, int mode)
{
    smem_segment *segment;
    CHECK_OK(smem_attach(ctx, name, mode, &segment));
    CHECK_EQ(smem_mode_of(segment), mode);
    return segment;
}

void check_no_name(smem_context *ctx, const char *name)
{
    smem_segment *segment;
    CHECK_CODE(smem_attach(ctx, name, SMEM_READ_WRITE, &segment), SMEM_E_NOT_FOUND);
}

smem_flight flight_of(smem_context *ctx, const char *name)
{
    smem_info info;
    smem_flight flight;
    CHECK_OK(smem_stat(ctx, name, &info, &flight));
    smem_info_clear(&info);
    return flight;
}

double *at(smem_segment *segment, int i)
{
    return (double *)smem_data(segment) + i;
}

int receive(smem_context *ctx, const smem_info *info, int mode, uint64_t ticket,
            smem_segment **out)
{
    return smem_receive(ctx, info->backend, info->name, info->nonce, mode, ticket, out);
}

smem_info facts(const smem_segment *segment)
{
    smem_info info = *smem_info_of(segment);
    info.dtype = NULL;
    return info;
}

void hold(check_peer *parent, void *arg)
{
    const job *todo = arg;
    check_hear(parent);
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = attach(ctx, todo->name, SMEM_READ_WRITE);
    check_tell(parent, smem_info_of(segment)->nonce);
    check_hear(parent);
    smem_detach(segment);
    smem_close(ctx);
}

void create_and_hold(check_peer *parent, void *arg)
{
    const job *todo = arg;
    smem_context *ctx = check_open(NULL);
    smem_segment *segment = create(ctx, todo->name);
    *at(segment, 0) = 42;
    check_tell(parent, smem_info_of(segment)->nonce);
    check_hear(parent);
    smem_detach(segment);
    smem_close(ctx);
}

uint64_t begin(check_peer *child)
{
    check_tell(child, 0);
    return check_hear(child);
}

void finish(check_peer *child)
{
    check_tell(child, 0);
    CHECK_EQ(check_wait(child), 0);
}

smem__layout *header_of(smem_segment *segment)
{
    return (smem__layout *)(void *)((char *)smem_data(segment) -
                                    smem_info_of(segment)->data_offset);
}

int see(void *arg, const smem_info *info, const smem_flight *flight)
{
    seen *all = arg;
    smem_info again;
    CHECK_EQ(flight->tickets, 0);
    CHECK(*info->dtype != '\0');
    CHECK_OK(smem_stat(all->ctx, info->name, &again, NULL)); /* visitors may call back */
    CHECK_EQ(again.nonce, info->nonce);
    smem_info_clear(&again);
    strcpy(all->names[all->count++], info->name);
    return all->count == all->stop_after ? 99 : 0;
}

void send_and_end(check_peer *parent, void *arg)
{
    uint64_t ticket;
    smem_context *ctx = check_open(arg);
    smem_segment *segment = create(ctx, check_name("sent"));
    *at(segment, 0) = 8;
    CHECK_OK(smem_ticket_issue(segment, &ticket));
    check_tell(parent, smem_info_of(segment)->nonce);
    check_tell(parent, ticket);
    check_hear(parent);
}
