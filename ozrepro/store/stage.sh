# Puts a copy of a file on this node for the starts of a job, and takes it away when the job ends:
# stage copy|remove UID NAME [SOURCE SHA256 SENT START [PID SINCE]]
#
# SENT is the name under which it may have been sent to the node before. Each line of the output is a word, the node and a text.
# It says `ready` when the copy is whole, under a name that no start takes; the word `go` on standard input gives it its own. The
# end of standard input before that ends it and leaves nothing. This process holds a lock on the copy. It ends, and removes it,
# by the SIGTERM with which Slurm ends a step, and where PID is given with that process, which began at SINCE. A copy whose holder
# was killed is removed by the next one of its user here.
set +o posix
doing=$1 uid=$2 name=$3 source=$4 sha256=$5 sent=$6 start=$7 watched=$8 since=$9
PATH=/usr/bin:/bin:/usr/sbin:/sbin
export LC_ALL=C
unset -v LD_LIBRARY_PATH LD_PRELOAD
umask 077
node=${SLURMD_NODENAME:-$HOSTNAME}
folder=${JOBFS:-${PBS_JOBFS:-${TMPDIR:-/tmp}}}
copy=$folder/$name
part=$copy.part sent=$folder/$sent link=${copy%.*}.start

tell() { printf '%s\t%s\t%s\n' "$1" "$node" "$2"; }
fail() {
    tell failed "$1"
    exit 1
}
is_mine() { [ ! -L "$1" ] && [ -f "$1" ] && [ -O "$1" ]; }

drop() {
    [ -z "$worker" ] || kill -- "-$worker" 2>/dev/null
    if is_mine "$sent"; then rm -f -- "$sent"; fi
    [ -n "$mine" ] || return
    if [ "$copy" -ef "/proc/self/fd/$held" ]; then rm -f -- "$copy" "$link"; fi
    if [ "$part" -ef "/proc/self/fd/$held" ]; then rm -f -- "$part"; fi
}
trap drop EXIT
trap 'exit 143' TERM HUP
trap '' INT QUIT

if [ "$doing" = remove ]; then
    if [ -e "$copy" ] || [ -L "$copy" ]; then tell removed "$copy"; fi
    rm -f -- "$copy" "$part" "$link"
    exit
fi

cd / && [ -d "$folder" ] && [ -w "$folder" ] || fail "$folder is not a folder that you can write to"
case $(stat -L -c %a -- "$folder") in
    *[2367]) [ -k "$folder" ] || fail "$folder can be changed by everybody" ;;
esac
kind=$(stat -L -f -c %T -- "$folder")
case $kind in
    lustre | nfs* | gpfs | ceph | panfs | afs | fhgfs | *19830326*) fail "$folder lies on a file system of the cluster ($kind)" ;;
esac
seen=$(stat -L -c '%s %.9Y' -- "$source" 2>/dev/null) || fail "$source cannot be read"

# What ended jobs left: nobody holds it.
for other in "$folder/ozrepro-$uid-"*; do
    case $other in "$copy"* | *.start) continue ;; esac
    is_mine "$other" && { exec {old}<"$other"; } 2>/dev/null || continue
    if flock -n "$old" && { [ "${other%.sent}" = "$other" ] || [ -n "$(find "$other" -mmin +60)" ]; }; then
        rm -f -- "$other" "${other%.*}.start"
    fi
    exec {old}>&-
done

# What a start compares, but for the path.
is_whole() { [ "$(stat -c '%f %u %h %s %.9Y' -- "$1" 2>/dev/null)" = "8100 $uid 1 $seen" ]; }
hung_up() { read -r -t 0; } # nothing is sent before it says that it is ready

# One reader at a time, which holds the lock of the part.
file=$part
until [ -n "$mine" ]; do
    if hung_up; then exit 1; fi
    if is_whole "$copy"; then
        { exec {held}<"$copy"; } 2>/dev/null || continue
        if ! flock -n "$held"; then
            tell known "$copy"
            exit
        fi
        if [ "$copy" -ef "/proc/self/fd/$held" ]; then mine=yes file=$copy; else exec {held}>&-; fi # its holder was killed
        continue
    fi
    [ ! -L "$part" ] && { exec {held}<>"$part" || exec {held}<"$part"; } 2>/dev/null && is_mine "$part" ||
        fail "$part cannot be written"
    if flock -w 1 "$held" && [ "$part" -ef "/proc/self/fd/$held" ]; then
        if is_whole "$copy" || [ ! -w "$part" ]; then rm -f -- "$part"; else mine=yes; fi # one that was killed when it was ready
    fi
    [ -n "$mine" ] || exec {held}>&-
done

work() {
    local said digest
    if is_mine "$sent" && digest=$(sha256sum <"$sent") && [ "${digest%% *}" = "$sha256" ]; then
        echo sent
    elif ! said=$(truncate -s 0 "/proc/self/fd/$held" 2>&1 && cat -- "$source" 2>&1 >&"$held"); then
        echo "failed ${said:-$source cannot be read}"
    elif digest=$(sha256sum <"/proc/self/fd/$held") && [ "${digest%% *}" = "$sha256" ]; then
        echo read
    else
        echo "failed $source is not as it was built: it has another sha256"
    fi
}

if [ "$file" != "$copy" ]; then
    if [ -e "$copy" ] || [ -L "$copy" ]; then
        rm -f -- "$copy" 2>/dev/null || fail "$copy cannot be removed, and is not what was staged"
        tell replaced "$copy"
    fi
    exec {answer}<> <(:)
    set -m # a process group of its own, so that all of it can be ended
    work </dev/null >&"$answer" 2>/dev/null &
    worker=$!
    set +m
    until read -r -t 0.2 -u "$answer" how; do
        if hung_up; then exit 1; fi
        kill -0 "$worker" 2>/dev/null || read -r -t 0.2 -u "$answer" how || how="failed the copy was killed"
        [ -z "$how" ] || break
    done
    worker=
    case $how in
        failed*) fail "${how#failed }" ;;
        sent)
            { exec {moved}<"$sent"; } && flock -n "$moved" || fail "$sent cannot be taken"
            rm -f -- "$part"
            exec {held}>&-
            held=$moved file=$sent
            ;;
        *) if is_mine "$sent"; then rm -f -- "$sent"; fi ;;
    esac
    exec {answer}>&-
    chmod 400 -- "$file" && touch -r "$source" -- "$file" && is_whole "$file" || fail "$source has changed"
fi

tell ready "$copy"
read -r word && [ "$word" = go ] || exit 1
[ "$file" = "$copy" ] || mv -fT -- "$file" "$copy" 2>/dev/null || fail "$copy cannot be written"
if [ -n "$start" ]; then ln -sfT -- "$start" "$link" || fail "$link cannot be written"; fi
tell staged "$copy"
exec </dev/null >/dev/null 2>&1 {nap}<> <(:)

lives() {
    local line
    { read -r line <"/proc/$1/stat"; } 2>/dev/null || return
    line=(${line##*)})
    [ "${line[19]}" = "$2" ] && [ "${line[0]}" != Z ] && [ "${line[0]}" != X ]
}
while [ "$copy" -ef "/proc/self/fd/$held" ] && { [ -z "$watched" ] || lives "$watched" "$since"; }; do
    read -r -t 1 -u "$nap" _
done
