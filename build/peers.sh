#!/bin/sh
# peers.sh fetches what other people wrote and our tests talk to, into .peers/:
#
#   node       the MCP reference server and client, from the npm registry (needs node and npm)
#   keycloak   an authorization server with token exchange, from Maven Central (needs Java 17 and mvn)
#
# Nothing of the product needs them. A test whose peer is not here is skipped, so what
# cannot be fetched is told and is no failure.
set -u
cd "$(dirname "$0")/.."

node="@modelcontextprotocol/server-everything@2026.8.31 @modelcontextprotocol/client@2.4.0"
keycloak=26.4.5

mkdir -p .peers
peers=$PWD/.peers
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# fetch NAME VERSION COMMAND... puts .peers/NAME there at once, or not at all.
fetch() {
	name=$1 version=$2
	shift 2
	[ "$(cat "$peers/$name.version" 2>/dev/null)" = "$version" ] && return
	echo "fetching $version"
	if (cd "$work" && "$@" >"$work/said" 2>&1); then
		rm -rf "${peers:?}/$name" && mv "$work/$name" "$peers/$name" && echo "$version" >"$peers/$name.version"
	else
		tail -n 5 "$work/said"
		echo "SKIPPED: $version cannot be fetched from here, so its tests are skipped"
	fi
}

node() { npm install --prefix "$work/node" --ignore-scripts --no-package-lock --no-audit --no-fund $node; }

keycloak() {
	mvn -q -B dependency:unpack -Dartifact=org.keycloak:keycloak-quarkus-dist:$keycloak:zip -DoutputDirectory="$work/unpacked" &&
		mv "$work/unpacked/keycloak-$keycloak" "$work/keycloak"
}

fetch node "$node" node
fetch keycloak "keycloak $keycloak" keycloak
