#!/bin/sh
# proto.sh generates gen/ from proto/ and checks both, without the network once
# the Go module cache is filled and without the Buf registry.
#
#   build/proto.sh            generate gen/
#   build/proto.sh lint       buf lint
#   build/proto.sh format     fails when a file is not formatted; shows the diff
#   build/proto.sh breaking   fails on a change that breaks the wire form; against main, or $BASE
#   build/proto.sh drift      generate, then fail when gen/ differs from what is committed
set -eu
cd "$(dirname "$0")/.."

protovalidate=github.com/bufbuild/protovalidate@v1.2.2

buf() { go tool -modfile=tools.mod buf "$@"; }

# deps DIR puts validate.proto beside the tree in DIR. It comes out of the Go
# module cache: the generated Go module of the same name holds no .proto file.
deps() {
	dir=$(go mod download -json "$protovalidate" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)".*/\1/p')
	[ -d "$dir/proto/protovalidate" ] || { echo "proto.sh: $protovalidate is not in the module cache" >&2; exit 1; }
	mkdir -p "$1/.proto-deps"
	ln -sfn "$dir/proto/protovalidate" "$1/.proto-deps/protovalidate"
}

deps .
# generated makes everything that comes out of proto files. A descriptor set has the
# comments, which reflection has not.
generated() {
	buf generate
	buf build proto --path proto/crm --as-file-descriptor-set -o examples/supportdesk/crm.binpb
	buf build tools/grpctool/testdata --as-file-descriptor-set -o tools/grpctool/testdata/everything.binpb
}

case "${1:-generate}" in
generate)
	generated
	;;
lint)
	buf lint
	;;
format)
	buf format proto -d --exit-code
	;;
breaking)
	# Comparing with '.git#branch=main' fails: that tree lacks .proto-deps.
	base=${BASE:-main}
	old=$(mktemp -d)
	trap 'rm -rf "$old"' EXIT
	if ! git rev-parse -q --verify HEAD >/dev/null; then
		echo "proto.sh: the repository has no commit yet; nothing to break" >&2
		exit 0
	fi
	git rev-parse -q --verify "$base^{commit}" >/dev/null || { echo "proto.sh: no commit $base to compare with" >&2; exit 1; }
	if [ -z "$(git ls-tree "$base" proto)" ]; then
		echo "proto.sh: $base has no proto/ yet; nothing to break" >&2
		exit 0
	fi
	git archive --output="$old/base.tar" "$base" proto buf.yaml
	tar -xf "$old/base.tar" -C "$old"
	deps "$old"
	buf breaking proto --against "$old/proto"
	;;
drift)
	generated
	git diff --exit-code -- gen examples/supportdesk tools/grpctool/testdata
	new=$(git ls-files --others --exclude-standard -- gen)
	[ -z "$new" ] || { printf 'proto.sh: generated but not committed:\n%s\n' "$new" >&2; exit 1; }
	;;
*)
	echo "usage: build/proto.sh [generate|lint|format|breaking|drift]" >&2
	exit 2
	;;
esac
