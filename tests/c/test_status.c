/* The texts of the result codes. */
#include "check.h"

#include <errno.h>
#include <string.h>

static const int codes[] = {
#define CODE(name, number, twin, text, remedy) SMEM_E_##name,
    SMEM_STATUS_MAP(CODE)
#undef CODE
};

/* Each code of the library has a name, a text, a remedy and a positive errno twin. */
TEST(own_codes_are_described)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        CHECK(strncmp(smem_error_name(codes[i]), "SMEM_E_", 7) == 0);
        CHECK(strlen(smem_error_text(codes[i])) > 10);
        CHECK(strlen(smem_error_remedy(codes[i])) > 10);
        CHECK(smem_error_errno(codes[i]) > 0 && smem_error_errno(codes[i]) < 4000);
    }
}

/* No number stands for two codes, and all lie below every -errno. */
TEST(own_codes_are_distinct)
{
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        CHECK(codes[i] <= -4000);
        for (size_t j = 0; j < i; j++)
            CHECK(codes[i] != codes[j]);
    }
}

/* A system error has the system's text and its own errno. */
TEST(system_errors_are_the_systems)
{
    CHECK_EQ(smem_error_errno(-ENOMEM), ENOMEM);
    CHECK_STR(smem_error_text(-ENOMEM), strerror(ENOMEM));
    CHECK_STR(smem_error_remedy(-ENOMEM), "");
}

/* Success and unknown numbers are described, too. */
TEST(any_number_has_a_text)
{
    CHECK_STR(smem_error_name(0), "SMEM_OK");
    CHECK_EQ(smem_error_errno(0), 0);
    const int unknown[] = {-3999, -4000, -5000, INT32_MIN + 1, 17};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        CHECK(*smem_error_text(unknown[i]) != '\0');
        CHECK(*smem_error_name(unknown[i]) != '\0');
    }
}

int main(int argc, char **argv)
{
    return check_main(argc, argv);
}
