# SPDX-License-Identifier: Apache-2.0
"""libbpf's C functions, and how their failures become KernelError.

Why ABI mode: no compiler is needed where Mizar runs, and libbpf keeps the ABI of its 1.x
series (every options struct carries its own size). cffi releases the GIL during a call.

What holds:
 - Declarations are those of libbpf 1.1 (Debian 12), only what is used.
 - What libbpf prints is collected per thread, never printed: it becomes KernelError.log.

What does not belong here: objects with a lifetime (libbpf.py, links.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from typing import Any, Final, Self

import cffi

from mizar import errors

_CDEF: Final = """
typedef uint8_t __u8; typedef uint16_t __u16; typedef uint32_t __u32; typedef uint64_t __u64;

struct bpf_object; struct bpf_map; struct bpf_program; struct btf; struct btf_ext;

typedef int (*libbpf_print_fn_t)(int level, const char *format, void *args);
libbpf_print_fn_t libbpf_set_print(libbpf_print_fn_t fn);
int libbpf_num_possible_cpus(void);

struct bpf_object *bpf_object__open_file(const char *path, const void *opts);
int bpf_object__load(struct bpf_object *obj);
void bpf_object__close(struct bpf_object *obj);
struct bpf_program *bpf_object__next_program(const struct bpf_object *obj, struct bpf_program *prog);
struct bpf_map *bpf_object__next_map(const struct bpf_object *obj, const struct bpf_map *map);
const char *bpf_program__name(const struct bpf_program *prog);
int bpf_program__fd(const struct bpf_program *prog);
int bpf_program__set_autoload(struct bpf_program *prog, bool autoload);
const char *bpf_map__name(const struct bpf_map *map);
int bpf_map__fd(const struct bpf_map *map);
int bpf_map__reuse_fd(struct bpf_map *map, int fd);
__u32 bpf_map__type(const struct bpf_map *map);
__u32 bpf_map__key_size(const struct bpf_map *map);
__u32 bpf_map__value_size(const struct bpf_map *map);
__u32 bpf_map__max_entries(const struct bpf_map *map);
int bpf_map__set_max_entries(struct bpf_map *map, __u32 max_entries);

struct btf *btf__parse_elf(const char *path, struct btf_ext **btf_ext);
const void *btf__raw_data(const struct btf *btf, __u32 *size);
void btf__free(struct btf *btf);

struct bpf_map_batch_opts { size_t sz; __u64 elem_flags; __u64 flags; };
int bpf_map_lookup_elem(int fd, const void *key, void *value);
int bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags);
int bpf_map_delete_elem(int fd, const void *key);
int bpf_map_get_next_key(int fd, const void *key, void *next_key);
int bpf_map_update_batch(int fd, const void *keys, const void *values, __u32 *count, const void *opts);
int bpf_map_delete_batch(int fd, const void *keys, __u32 *count, const void *opts);
int bpf_map_lookup_batch(int fd, void *in_batch, void *out_batch, void *keys, void *values, __u32 *count,
                         const void *opts);

int bpf_obj_pin(int fd, const char *path);
int bpf_obj_get(const char *path);
int bpf_map_get_fd_by_id(__u32 id);
int bpf_obj_get_info_by_fd(int fd, void *info, __u32 *info_len);

struct bpf_link_create_opts { size_t sz; __u32 flags; __u32 pad; __u64 unused[8]; };
int bpf_link_create(int prog_fd, int target_fd, int attach_type, const struct bpf_link_create_opts *opts);
int bpf_link_update(int link_fd, int new_prog_fd, const void *opts);
int bpf_link_detach(int link_fd);

struct bpf_tc_hook { size_t sz; int ifindex; int attach_point; __u32 parent; __u32 pad; };
struct bpf_tc_opts {
    size_t sz; int prog_fd; __u32 flags; __u32 prog_id; __u32 handle; __u32 priority; __u32 pad;
};
int bpf_tc_hook_create(struct bpf_tc_hook *hook);
int bpf_tc_attach(const struct bpf_tc_hook *hook, struct bpf_tc_opts *opts);
int bpf_tc_detach(const struct bpf_tc_hook *hook, const struct bpf_tc_opts *opts);
int bpf_tc_query(const struct bpf_tc_hook *hook, struct bpf_tc_opts *opts);

struct bpf_test_run_opts {
    size_t sz; const void *data_in; void *data_out; __u32 data_size_in; __u32 data_size_out;
    const void *ctx_in; void *ctx_out; __u32 ctx_size_in; __u32 ctx_size_out;
    __u32 retval; int repeat; __u32 duration; __u32 flags; __u32 cpu; __u32 batch_size;
};
int bpf_prog_test_run_opts(int prog_fd, struct bpf_test_run_opts *opts);

/* Heads of the kernel's info structs: it fills as much as it is given room for. */
struct mz_prog_info {
    __u32 type; __u32 id; __u8 tag[8]; __u32 jited_prog_len; __u32 xlated_prog_len;
    __u64 jited_prog_insns; __u64 xlated_prog_insns; __u64 load_time;
    __u32 created_by_uid; __u32 nr_map_ids; __u64 map_ids; char name[16];
};
struct mz_map_info {
    __u32 type; __u32 id; __u32 key_size; __u32 value_size; __u32 max_entries; __u32 map_flags; char name[16];
};
struct mz_link_info { __u32 type; __u32 id; __u32 prog_id; __u32 pad; __u32 ifindex; __u32 attach_type; };
"""

_LIBC_CDEF: Final = "int vasprintf(char **out, const char *format, void *args); void free(void *p);"

# Any: cffi learns what exists from the text above, which no type checker reads.
ffi: Final[Any] = cffi.FFI()
ffi.cdef(_CDEF)
ffi.cdef(_LIBC_CDEF)

_SONAME: Final = "libbpf.so.1"
_WARN: Final = 0

_HINTS: Final = {
    errno.EPERM: "root, or CAP_BPF with CAP_NET_ADMIN, is needed",
    errno.ENODEV: "no such interface in this network namespace",
    errno.EOPNOTSUPP: "the driver or the kernel does not support it",
}


def _open_library() -> Any:
    try:
        return ffi.dlopen(_SONAME)
    except OSError as exc:
        raise errors.UnavailableError(f"load {_SONAME}: not found (Debian package libbpf1)") from exc


class _PerThread(threading.local):
    """What libbpf has said in this thread since capture() began; None: nobody listens."""

    messages: list[str] | None = None


lib: Final = _open_library()
_libc: Final[Any] = ffi.dlopen(None)
_said: Final = _PerThread()


def _on_print(level: int, message: Any, args: Any) -> int:
    """libbpf's printer. `args` is a va_list, which x86-64 and arm64 pass by address."""
    if level != _WARN or _said.messages is None:
        return 0
    text = ffi.new("char **")
    if _libc.vasprintf(text, message, args) >= 0:
        _said.messages.append(ffi.string(text[0]).decode(errors="replace"))
        _libc.free(text[0])
    return 0


# libbpf keeps the pointer: the name keeps it alive.
_printer: Final = ffi.callback("int(int, const char *, void *)", _on_print)
lib.libbpf_set_print(_printer)


@contextlib.contextmanager
def capture() -> Iterator[list[str]]:
    """Collect what libbpf says in this thread: its warnings, and with them the verifier's log."""
    outer, _said.messages = _said.messages, []
    try:
        yield _said.messages
    finally:
        _said.messages = outer


def failure(what: str, code: int, *, hint: str = "", log: str = "") -> errors.KernelError:
    """The error for `what` ("verb noun") that ended in errno `code`."""
    hint = hint or _HINTS.get(code, "")
    return errors.KernelError(
        f"{what}: {os.strerror(code).lower()}" + (f" ({hint})" if hint else ""), errno=code, log=log
    )


def cause(error: errors.KernelError) -> str:
    """What the kernel said, in the words of its errno."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


def check(result: int, what: str, *, hint: str = "") -> int:
    """`result` of a libbpf call if it is not negative (-errno), else raises."""
    if result < 0:
        raise failure(what, -result, hint=hint)
    return result


def text(path: os.PathLike[str] | str) -> Any:
    """A path as C string."""
    return ffi.new("char[]", os.fsencode(path))


def info(fd: int, struct: str, what: str) -> Any:
    """The kernel's description of the map, program or link behind `fd`, as cdata `struct`."""
    data = ffi.new(f"struct {struct} *")
    size = ffi.new("__u32 *", ffi.sizeof(f"struct {struct}"))
    check(lib.bpf_obj_get_info_by_fd(fd, data, size), f"describe {what}")
    return data


def possible_cpus() -> int:
    """CPUs that the kernel keeps per-CPU values for."""
    return check(lib.libbpf_num_possible_cpus(), "count CPUs")


def open_pin(path: os.PathLike[str] | str) -> int:
    """A new fd of what is pinned at `path`."""
    return check(lib.bpf_obj_get(text(path)), f"open pin {os.fspath(path)}")


class Handle:
    """Owner of one kernel object's file descriptor; the object lives on while pinned or attached."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # A handle that was dropped without close() must not leak its fd.
        if getattr(self, "fd", -1) >= 0:
            self.close()

    def pin(self, path: os.PathLike[str] | str) -> None:
        """Pin at `path`, in place of what is pinned there: there is no moment without a pin."""
        what, code = f"pin {os.fspath(path)}", lib.bpf_obj_pin(self.fd, text(path))
        if code != -errno.EEXIST:
            check(code, what)
            return
        fresh = f"{os.fspath(path)}-new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh)  # noqa: PTH108  left by a crash between the two steps below
        check(lib.bpf_obj_pin(self.fd, text(fresh)), what)
        os.rename(fresh, path)  # noqa: PTH104
