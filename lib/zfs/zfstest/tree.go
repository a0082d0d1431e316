package zfstest

// Tree is a script for a program named zfs, to be put after its first line. It answers
// zfs get for the datasets in $TREE, one a word, a pool before its descendants; all have
// every property whose name begins with autobackup:, unless $SET names the datasets on which
// it is set, from which those below inherit it. It treats unreadable pools and
// datasets as zfs 2.1 to 2.4 do: a pool in $SUSPENDED is left out silently, and an error
// if it is named; the dataset $BAD and its later siblings are left out, with a line that
// names nothing, and status 0. Pools in $LATE are only listed if they are named. A
// request for the pool $STUCK, by a name or without names, gets no answer about any
// dataset.
const Tree = `[ "$1" = get ] || { echo "$1?" >&2; exit 9; }
shift
names= depth=0
while [ $# -gt 0 ]; do
	case $1 in
	-Hp) ;;
	-r) depth=99 ;;
	-d) depth=$2; shift ;;
	-t|-o) shift ;;
	*) props=$1; shift; names="$*"; break ;;
	esac
	shift
done
if [ -z "$names" ]; then
	[ $depth != 0 ] || depth=99
	for n in $TREE; do case $n in */*) ;; *) case " $SUSPENDED $LATE " in *" $n "*) ;; *) names="$names $n" ;; esac ;; esac; done
fi
for n in $names; do
	if [ "${n%%/*}" = "$STUCK" ]; then echo "internal error: pool I/O is currently suspended" >&2; exit 1; fi
done
printf '%s\n' $TREE | awk -v names="$names" -v depth="$depth" -v bad="$BAD" -v suspended=" $SUSPENDED " -v props="$props" -v set=" $SET " '
function selecting(n,  up) {
	if (set ~ /^ *$/ || index(set, " " n " ")) return "true\tlocal"
	for (up = n; sub("/[^/]*$", "", up);) if (index(set, " " up " ")) return "true\tinherited from " up
	return "-\t-"
}
function show(n,  i, v) {
	for (i = 1; i <= np; i++) {
		v = "-\t-"
		if (p[i] == "type") v = "filesystem\t-"
		else if (p[i] == "guid") v = guid[n] "\t-"
		else if (p[i] == "createtxg") v = guid[n] "\t-"
		else if (p[i] ~ /^autobackup:/) v = selecting(n)
		print n "\t" p[i] "\t" v
	}
}
function walk(n, d,  i, rest) {
	show(n)
	if (d == 0) return
	for (i = 1; i <= count; i++) {
		rest = substr(t[i], length(n) + 2)
		if (index(t[i], n "/") != 1 || index(rest, "/")) continue
		if (t[i] == bad) { print "cannot iterate filesystems: I/O error" >"/dev/stderr"; return }
		walk(t[i], d - 1)
	}
}
BEGIN { np = split(props, p, ",") }
{ t[++count] = $0; guid[$0] = 10 + count }
END {
	k = split(names, name, " ")
	for (j = 1; j <= k; j++) {
		n = name[j]; pool = n; sub("/.*", "", pool)
		if (index(suspended, " " pool " ")) { print "cannot open \047" n "\047: pool I/O is currently suspended" >"/dev/stderr"; code = 1 }
		else if (!guid[n]) { print "cannot open \047" n "\047: dataset does not exist" >"/dev/stderr"; code = 1 }
		else if (n == bad) { print "cannot open \047" n "\047: I/O error" >"/dev/stderr"; code = 1 }
		else walk(n, depth)
	}
	exit code
}'
`
