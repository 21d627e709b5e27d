"""``sharedmem completion``: scripts that complete commands, options and names.

Names of segments are read line by line and quoted: a name is never evaluated by
the shell, which ``compgen -W`` would do.
"""

from __future__ import annotations

from argparse import Namespace

__all__ = ["DESCRIPTION", "run"]

DESCRIPTION = """\
Print a script that completes commands, options and names of segments.

bash:  source <(sharedmem completion bash)       in ~/.bashrc
zsh:   source <(sharedmem completion zsh)        in ~/.zshrc, after compinit
"""

_OPTIONS = {
    "list": "--json --backend --all --help",
    "show": "--values --plot --json --help",
    "clean": "--yes --in-flight --locks --user --json --help",
    "unlink": "--json --help",
    "save": "--force --json --help",
    "load": "--replace --backend --json --help",
    "watch": "--interval --all --json --help",
    "doctor": "--json --help",
    "completion": "--help",
}

_BASH = """\
_sharedmem_names() {
    local name
    while IFS= read -r name; do
        [[ $name == "$1"* ]] && COMPREPLY+=("$(printf %q "$name")")
    done < <(command sharedmem names 2>/dev/null)
}

_sharedmem() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} options=
    COMPREPLY=()
    case $before in
        --backend) COMPREPLY=($(compgen -W "posix sysv" -- "$word")); return ;;
        --user) COMPREPLY=($(compgen -u -- "$word")); return ;;
        --plot) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W "@commands@ --version --help" -- "$word"))
        return
    fi
    case ${COMP_WORDS[1]} in
@cases@
    esac
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
        return
    fi
    case ${COMP_WORDS[1]} in
        show | unlink) _sharedmem_names "$word" ;;
        save) if ((COMP_CWORD == 2)); then _sharedmem_names "$word"
              else COMPREPLY=($(compgen -f -- "$word")); fi ;;
        load) ((COMP_CWORD == 2)) && COMPREPLY=($(compgen -f -- "$word")) ;;
        completion) COMPREPLY=($(compgen -W "bash zsh" -- "$word")) ;;
    esac
}
complete -o filenames -o nosort -F _sharedmem sharedmem
"""

_ZSH = """\
#compdef sharedmem
_sharedmem() {
    local -a names commands
    commands=(@commands@)
    if ((CURRENT == 2)); then
        compadd -- $commands --version --help
        return
    fi
    case ${words[CURRENT-1]} in
        --backend) compadd -- posix sysv; return ;;
        --user) _users; return ;;
        --plot) _files; return ;;
    esac
    local -a options
    case ${words[2]} in
@cases@
    esac
    if [[ ${words[CURRENT]} == -* ]]; then
        compadd -- $=options
        return
    fi
    names=("${(@f)$(command sharedmem names 2>/dev/null)}")
    case ${words[2]} in
        show | unlink) compadd -- ${names:#} ;;
        save) if ((CURRENT == 3)); then compadd -- ${names:#}; else _files; fi ;;
        load) ((CURRENT == 3)) && _files ;;
        completion) compadd -- bash zsh ;;
    esac
}
compdef _sharedmem sharedmem
"""


def run(options: Namespace) -> int:
    script = {"bash": _BASH, "zsh": _ZSH}[options.shell]
    cases = "\n".join(f'        {name}) options="{words}" ;;' for name, words in _OPTIONS.items())
    print(script.replace("@commands@", " ".join(_OPTIONS)).replace("@cases@", cases), end="")
    return 0
