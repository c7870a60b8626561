# bash completion for memory-tracker, memory-api, memory-sampler and memory-courier.
#
# What can be typed comes from the programs' own --help, so this file never lags behind them. A row
# of --help is "  --name PLACEHOLDER"; the placeholder tells what follows the option.

# The placeholder of option $1 in the help text $2.
_memory_tracker_placeholder()
{
    local line
    while IFS= read -r line; do
        if [[ $line =~ ^'  '(--[a-z-]+)' '?(.*)$ && ${BASH_REMATCH[1]} == "$1" ]]; then
            printf '%s' "${BASH_REMATCH[2]}"
            return
        fi
    done <<<"$2"
}

# The words that may follow option $2 with placeholder $1.
_memory_tracker_values()
{
    local host destination rest
    case $1 in
        *'|'*) printf '%s' "${1//|/ }" ;;
        DESTINATION) memory-tracker spool 2>/dev/null |
            while read -r destination rest; do
                [[ $destination == *:/* ]] && printf '%s ' "$destination"
            done ;;
        AMOUNT) printf '30d 90d 1y 1GiB 10GiB' ;;
        FORMULA) printf 'available free procps3 htop sar' ;;
        NAME) [[ $2 == --host ]] && memory-tracker hosts 2>/dev/null |
            while read -r host rest; do [[ $host != HOST ]] && printf '%s ' "$host"; done ;;
    esac
}

_memory_tracker()
{
    local program=$1 current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local subcommand='' options='' help placeholder word rest line
    COMPREPLY=()

    # --option=value comes as three words
    [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD - 2]}
    [[ $current == = ]] && { previous=${COMP_WORDS[COMP_CWORD - 1]}; current=''; }

    if [[ ${program##*/} == memory-tracker ]]; then
        if ((COMP_CWORD > 1)); then
            subcommand=${COMP_WORDS[1]}
        fi
        if [[ -z $subcommand || $subcommand == help ]]; then
            help=$("$program" --help 2>/dev/null) || return
            [[ -z $subcommand ]] && options='--help --version'
            mapfile -t COMPREPLY < <(compgen -W "$(while read -r word rest; do
                [[ $word == Options: ]] && break
                [[ $word =~ ^[a-z]+$ ]] && printf '%s ' "$word"
            done <<<"${help#*Subcommands:}") $options" -- "$current")
            return
        fi
    fi
    help=$("$program" ${subcommand:+"$subcommand"} --help 2>/dev/null) || return

    if [[ $previous == --* ]]; then
        placeholder=$(_memory_tracker_placeholder "$previous" "$help")
        case $placeholder in
            '') ;;
            FILE | PATH)
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
                return ;;
            *)
                mapfile -t COMPREPLY < <(compgen -W \
                    "$(_memory_tracker_values "$placeholder" "$previous")" -- "$current")
                return ;;
        esac
    fi
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(while IFS= read -r line; do
            [[ $line =~ ^'  '(--[a-z-]+) ]] && printf '%s ' "${BASH_REMATCH[1]}"
        done <<<"$help")" -- "$current")
    elif [[ $subcommand == spool ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'flush rejected' -- "$current")
    elif [[ $subcommand == import ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    fi
}

complete -F _memory_tracker memory-tracker memory-api memory-sampler memory-courier
