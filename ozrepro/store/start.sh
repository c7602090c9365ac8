#!/bin/bash -p
# Starts a command with this environment's file, env.sqfs, mounted at the path where it was built: start COMMAND…
#
# In namespaces of the user's own. squashfuse_ll serves the mount from outside of the mount namespace: so it ends when the last
# program of that namespace has, however that ended, and is no child that a program's wait() could wait for. This process
# becomes the command. In a job, the first start on a node leaves a holder whose namespaces the later ones join, since ranks
# can share memory only within one user namespace; the holder ends with what started the first one.
set +o posix
fuse=@SQUASHFUSE@ unshare=@UNSHARE@ nsenter=@NSENTER@ mount=@MOUNT@

tell='tell() {
    printf "ozrepro: %s\n  try: %s\n" "$1" "$2" >&2
    exit "$3"
}'
eval "$tell"
[ "$#" -gt 0 ] || tell "there is no command to start" "$0 COMMAND" 2

# The command gets its caller's variables back as they were: bash changes some of them, such as IFS, and the tools here run
# without any, so that none takes a library of a module.
mapfile -d '' -t caller </proc/self/environ
for at in "${!caller[@]}"; do
    case ${caller[at]} in _OZMOUNT_FILE=*) unset -v "caller[$at]" ;; [!=]*=*) ;; *) unset -v "caller[$at]" ;; esac
done
program=$1 path=$PATH
case $program in *=*) set -- "$unshare" -- "$@" ;; esac # env would take it for a variable
set -- /usr/bin/env -i -- "${caller[@]}" "$@"
PATH=/usr/bin:/bin:/usr/sbin:/sbin

here=${0%/*}
case $here in /*) ;; *) here=$PWD/$here ;; esac
prefix=@OVER@ # the path of the tree that was packed, if one was
prefix=${prefix:-$here/env}
file=${_OZMOUNT_FILE:-$here/env.sqfs} whole="ozrepro store verify"

check='
if case $program in */*) [ ! -e "$program" ] ;; *) ! PATH=$path type -P -- "$program" >/dev/null ;; esac; then
    printf "ozrepro: %s: not found\n" "$program" >&2
    exit 127
fi'

# A start inside another one of this environment: it is mounted already. Outside of all, the file system is not asked for it.
mapfile -t mounts </proc/self/mountinfo
case ${mounts[*]} in *' - fuse.squashfuse_ll ozrepro '*)
    if [ -e "$prefix/@MARKER@" ]; then
        eval "$check"
        exec -c "$@"
    fi
    ;;
esac

if [ ! -f "$file" ] || [ ! -d "$prefix" ] || [ -L "$prefix" ]; then
    tell "$here is not as it was built" "ozrepro build" 3
fi
[ -x "$fuse" ] || fuse=$(PATH=$path type -P squashfuse_ll)
[ -x "$fuse" ] || tell "there is no squashfuse_ll on $HOSTNAME" "OZREPRO_FORM=tree" 4
{ [ -r /dev/fuse ] && [ -w /dev/fuse ]; } || tell "/dev/fuse cannot be opened on $HOSTNAME" "OZREPRO_FORM=tree" 4
for knob in user/max_user_namespaces user/max_mnt_namespaces kernel/unprivileged_userns_clone; do
    if [ -r "/proc/sys/$knob" ] && read -r value <"/proc/sys/$knob" && [ "$value" = 0 ]; then
        tell "$HOSTNAME lets nobody make namespaces (sysctl ${knob/\//.} = 0)" "OZREPRO_FORM=tree" 4
    fi
done
# Neither $EUID nor ${GROUPS[0]}, which a caller's variables of these names replace (UID is exported for docker compose).
mapfile -n 12 -t lines </proc/self/status
for line in "${lines[@]}"; do
    case $line in
    Uid:*) words=($line) uid=${words[2]} ;;
    Gid:*) words=($line) gid=${words[2]} ;;
    esac
done

# Closes all descriptors but the first three and $1.
close='
for at in /proc/self/fd/*; do
    at=${at##*/}
    if [ "$at" -gt 2 ] && [ "$at" != "$1" ]; then exec {at}>&-; fi
done'

# Whether the file is the one that was published: by its inode and the time of its last change, which no copy brings along and
# no change keeps, and in a folder that not everybody can write to. A launcher that passes this text knows both already.
known=
built=$'\n "made": \\[[[:space:]]*([0-9]+),[[:space:]]*([0-9]+)([0-9]{9}),'
intact='
intact() {
    local card=$known words
    [ "$file" = "$here/env.sqfs" ] || return 0
    [ -n "$card" ] || { IFS= read -r -d "" card <"$here/generation.json"; } 2>/dev/null
    words=($(stat -c "%i %.9Z %a" -- "$file" "$here"))
    [[ $card =~ $built && ${words[*]::2} = "${BASH_REMATCH[1]} ${BASH_REMATCH[2]}.${BASH_REMATCH[3]}" ]] &&
        (( !(8#${words[5]} & 2) ))
}'

# First in the user namespace, as its root: the device, and who serves it as soon as it is mounted.
serve='
settings=$1; shift; eval "$settings"
eval "$intact"
exec {device}<>/dev/fuse || tell "/dev/fuse cannot be opened on $HOSTNAME" "OZREPRO_FORM=tree" 4
exec {go}> >(
    trap "" INT QUIT HUP TERM TSTP TTIN TTOU ABRT ALRM USR1 USR2 XCPU # all that Slurm sends to a step, to each of its processes
    (
        cd /
        set -- "$device"; eval "$close"
        if intact; then sound=yes; fi # while the mount is made; who makes it writes to this pipe in any case
        read -r word && [ -n "$sound" ] && exec setsid "$fuse" -f -o ro "$file" "/dev/fd/$device" </dev/null
    ) <&0 >/dev/null 2>&1 &
)
wait "$!"
[ -n "$go" ] || tell "$HOSTNAME has no room for a pipe" "the same command again" 1
settings="device=$device go=$go;$settings"
exec -c "$unshare" --mount --propagation slave -- /bin/bash -p -c "$settings$mounted" start "$@"'

# Software of the machine that the file keeps, over its own paths. Where a path is gone, or leads elsewhere now, the folder above
# is covered by memory, in which all else that was there can be reached by links.
keep='
kept=$prefix/@KEPT@ aside=.ozrepro-site
shopt -s dotglob nullglob

# Sets $place to the real path that $1 has, or would have; and $above to its nearest folder that there is.
real() {
    local rest=
    above=$1
    until cd -P -- "$above" 2>/dev/null; do rest=/${above##*/}$rest above=${above%/*} above=${above:-/}; done
    above=$PWD place=${PWD%/}$rest
}

# Fills a folder below $hole: with folders on the way to what is mounted, and links to all else.
plant() {
    local name links=()
    for name in "$hole/$aside$1"/*; do
        name=$1/${name##*/}
        case ${wanted[$covered$name]} in
        at) ;;
        above) mkdir -- "$hole$name" && plant "$name" || return ;;
        *) links+=("$covered/$aside$name") ;;
        esac
    done
    [ "${#links[@]}" = 0 ] || ln -s -t "$hole$1" -- "${links[@]}"
}

cover() {
    local target covered=$1 hole=$kept/cover
    [ "$covered" != / ] && "$mount" -i -n -t tmpfs -o mode=755,nosuid,nodev ozrepro "$hole" && mkdir -- "$hole/$aside" &&
        "$mount" -i -n -c --rbind "$covered" "$hole/$aside" && plant "" || return
    for target in "${!from[@]}"; do
        case $target in "$covered"/*) mkdir -p -- "$hole${target#"$covered"}" || return ;; esac
    done
    "$mount" -i -n -c --move "$hole" "$covered" && "$mount" -i -n -c -o remount,bind,ro,nosuid,nodev "$covered"
}

escaped() {
    line=${1//\\/\\134} line=${line// /\\040} line=${line//$tab/\\011} line=${line//$newline/\\012}
}

elsewhere() {
    local target line lines= tab newline
    for target in "${!from[@]}"; do
        while target=${target%/*} && [ -n "$target" ]; do wanted[$target]=${wanted[$target]:-above}; done
    done
    for above in "${holes[@]}"; do
        for target in "${holes[@]}"; do
            case $above in "$target"/*) continue 2 ;; esac
        done
        [ -d "$above/$aside" ] || cover "$above" || return
    done
    printf -v tab "\t"
    printf -v newline "\n"
    for target in "${!from[@]}"; do
        escaped "$kept/${from[$target]}"
        lines+="$line "
        escaped "$target"
        lines+="$line none bind$newline"
    done
    "$mount" -i -n -t tmpfs -o mode=700,nosuid,nodev ozrepro "$kept/cover" && printf %s "$lines" >"$kept/cover/fstab" &&
        "$mount" -i -n -a -T "$kept/cover/fstab"
}

over() {
    local at parent above place holes=() moved=
    declare -A from wanted
    for (( at = 0; at < ${#rows[@]}; at += 3 )); do
        real "${rows[at + 2]}"
        if [ "$place" != "${rows[at + 1]}" ]; then
            moved=1 parent=${rows[at + 2]%/*}
            real "${parent:-/}"
            place=${place%/}/${rows[at + 2]##*/}
        fi
        from[$place]=${rows[at]} wanted[$place]=at
        if [ ! -d "$place" ] || [ -L "$place" ]; then holes+=("$above"); fi
    done
    if [ -n "$moved${holes[*]}" ]; then elsewhere; else "$mount" -i -n -a -T "$kept/fstab"; fi
}

mapfile -d "" -t rows <"$kept/table"
(over) || tell "software of the environment cannot be mounted over its paths on $HOSTNAME" "OZREPRO_FORM=tree" 3'

# Then in the mount namespace too. What is mounted on the node later is seen there, as a home is by an automounter.
mounted='
if [ . -ef "$prefix" ]; then inside=$prefix; fi
options="ro,nosuid,nodev,fd=$device,rootmode=40000,user_id=0,group_id=0"
"$mount" -i -n -t fuse.squashfuse_ll -o "$options" ozrepro "$prefix" ||
    tell "$file cannot be mounted on $HOSTNAME" "OZREPRO_FORM=tree" 4
trap : PIPE # whoever was to serve it may have been killed
{ echo >&"$go"; } 2>/dev/null
trap - PIPE
exec {device}>&- {go}>&-
if [ ! -e "$prefix/@MARKER@" ]; then
    eval "$intact"
    intact || tell "$file is not as it was published" "ozrepro build" 3
    tell "$file is damaged, or $fuse cannot read it" "$whole" 3
fi
if [ -e "$prefix/@KEPT@/table" ]; then eval "$keep"; fi
if [ -n "$inside" ]; then cd -- "$inside"; fi
eval "$check"
exec -c "$unshare" --user --map-user="$uid" --map-group="$gid" --mount --propagation slave -- "$@"'

settings="tell=${tell@Q} check=${check@Q} close=${close@Q} intact=${intact@Q} keep=${keep@Q} mounted=${mounted@Q}"
for name in fuse unshare mount here prefix built known program path uid gid PATH; do settings+=" $name=${!name@Q}"; done
settings+=$'\neval "$tell"\n'

# In a job, the copy that `ozrepro stage` has put on the node.
copy=${SLURM_JOB_ID:+$SLURM_JOB_ID.${SLURM_RESTART_COUNT-}}
copy=${copy:-${PBS_JOBID:-${LSB_JOBID:-${FLUX_JOB_ID-}}}}
if [ -n "$copy" ]; then
    folder=${prefix%/*}
    copy=${JOBFS:-${PBS_JOBFS:-${TMPDIR:-/tmp}}}/ozrepro-$uid-${copy//[^A-Za-z0-9.]/_}-${folder##*/}.sqfs
    if [ -n "${_OZMOUNT_FILE-}" ] || ! [ -e "$copy" -o -L "$copy" ]; then copy=; fi
fi

# Takes it where it is as it was copied.
take_copy() {
    [ -n "$copy" ] || return
    if [ "$(stat -c '%f %u %h %s %.9Y' -- "$copy")" = "8100 $uid 1 $(stat -L -c '%s %.9Y' -- "$file")" ]; then
        file=$copy whole="rm $copy"
    else
        printf 'ozrepro: skipping %s: it is not as it was staged\n' "$copy" >&2
    fi
    copy=
}

alone() {
    take_copy
    settings+="file=${file@Q} whole=${whole@Q}"$'\n'
    exec -c "$unshare" --user --map-root-user -- /bin/bash -p -c "$serve" start "$settings" "$@"
}

# look sets $parent and $since of a process: its parent's number, and when it began, which tells it from a later one of its
# number. It fails for one that has ended, also where nobody has waited for that yet, and for one that is ending, whose
# namespaces are gone before it is (PF_EXITING of linux/sched.h, in field 9 of proc(5)).
life='
look() {
    local line
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return
    line=(${line##*)})
    parent=${line[1]} since=${line[19]}
    case ${line[0]} in Z | X) return 1 ;; esac
    (( !(line[6] & 4) ))
}
lives() { look "$1" && [ "$since" = "$2" ]; }'
eval "$life"

# Who shares a mount: in a job of Slurm what is of one step, since Slurm ends a step's processes with it; else what is of one
# job; without a scheduler, ranks of one mpirun.
job=${SLURM_JOB_ID:+$SLURM_JOB_ID.${SLURM_RESTART_COUNT-}.${SLURM_STEP_ID-}}
job=${job:-${PBS_JOBID:-${LSB_JOBID:-${FLUX_JOB_ID-}}}}
if [ -z "$job" ] && [ -n "${OMPI_COMM_WORLD_RANK-}${PMI_RANK-}${PMIX_RANK-}" ] && look "$PPID"; then
    job=ppid.$PPID.$since
fi
[ -n "$job" ] && [ -z "${_OZMOUNT_FILE-}" ] || alone "$@"
if [ -n "$copy" ]; then job+=.staged; fi # what has mounted the file itself before may go on
# With the daemon of the step, which is a task's parent, else with the first start's parent. Where /proc hides those of root
# (hidepid), with the first task.
watched=$PPID
if [ -O "/proc/${SLURM_TASK_PID:-none}" ] && look "$SLURM_TASK_PID" && [ "$parent" -gt 1 ]; then watched=$parent; fi
look "$watched" || { watched=${SLURM_TASK_PID:-$$} && look "$watched"; } || { watched=$$ && look "$watched"; } || alone "$@"
until=$since folder=$PWD

notes=/dev/shm/ozrepro-$uid
note=${here//[^A-Za-z0-9.]/_}
note=$notes/${job//[^A-Za-z0-9.]/_}-${note:$((${#note} > 150 ? ${#note} - 150 : 0))}

# Opens the namespaces of the holder. Fails with 1 where there is none, or its mount is dead; with 2 where it cannot be entered
# from here: from inside another environment, or where its programs see another working directory.
join() {
    [ ! -L "$note" ] && [ -f "$note" ] && [ -O "$note" ] || return 1
    { read -r holder born <"$note"; } 2>/dev/null && lives "$holder" "$born" || return 1
    if [ ! -d "/proc/$holder/root/" ]; then
        if lives "$holder" "$born"; then return 2; else return 1; fi
    fi
    { : <"/proc/$holder/root$prefix/@MARKER@"; } 2>/dev/null || return 1 # the kernel still knows the names of a dead mount
    [ "/proc/$holder/root$folder" -ef . ] || [ . -ef "$prefix" ] || return 2
    { exec {space}<"/proc/$holder/ns/mnt" {inner}<"/proc/$holder/ns/user"; } 2>/dev/null && lives "$holder" "$born"
}

# In the namespaces that are joined, as long as $watched lives. Where /proc hides what a process may not trace, the first task
# is seen from here once it has joined.
hold='
settings=$1; shift; eval "$settings"; eval "$life"
set --; eval "$close"
trap "" INT QUIT HUP TERM TSTP TTIN TTOU ABRT ALRM USR1 USR2 XCPU
umask 077
cd /
look "$$" && born=$since && echo "$$ $born" >"$note" && echo && exec >/dev/null {nap}<> <(:) || exit
left=30
while if lives "$watched" "$until"; then left=0; else (( left-- > 0 )); fi; do
    read -r -t "$(( left ? 0 : 1 )).1" -u "$nap" _
done
exec {turn}<"$notes" && flock "$turn" && [ "$(<"$note")" = "$$ $born" ] && rm -f -- "$note"'

for name in life watched until notes note folder; do settings="$name=${!name@Q} $settings"; done

# Joins, and makes the holder where there is none, one start at a time. What ended jobs left is removed on the way.
first() {
    local other dead=()
    [ -d "$notes" ] || mkdir -m 700 -- "$notes" 2>/dev/null
    [ ! -L "$notes" ] && [ -d "$notes" ] && [ -O "$notes" ] || return 3
    exec {turn}<"$notes" && flock -w 60 "$turn" || return
    join
    case $? in 0) return ;; 2) return 2 ;; esac
    [ "$(stat -c %a -- "$notes")" = 700 ] || return 3
    for other in "$notes"/*; do
        { read -r holder born <"$other"; } 2>/dev/null && lives "$holder" "$born" || dead+=("$other")
    done
    rm -f -- "${dead[@]}"
    take_copy
    exec {said}< <( (alone setsid /bin/bash -p -c "$hold" hold "$settings" </dev/null 2>/dev/null {turn}>&- &) )
    read -r _ <&"$said"
    wait "$!"
    exec {said}>&-
    join
}

join
joins=$?
if [ "$joins" = 1 ]; then
    first
    joins=$?
    if [ -n "$turn" ]; then exec {turn}>&-; fi
fi
if [ "$joins" = 3 ] && [ "${SLURM_LOCALID:-0}" = 0 ]; then
    printf 'ozrepro: %s is not a folder of yours alone: each program mounts %s for itself\n' "$notes" "$here/env.sqfs" >&2
fi
[ "$joins" = 0 ] || alone "$@"
joined='
settings=$1; shift; eval "$settings"
exec {space}>&- {inner}>&-
cd -- "$folder" || exit
eval "$check"
exec -c "$@"'
exec -c "$nsenter" --preserve-credentials --user="/proc/self/fd/$inner" --mount="/proc/self/fd/$space" -- \
    /bin/bash -p -c "$joined" start "space=$space inner=$inner $settings" "$@"
