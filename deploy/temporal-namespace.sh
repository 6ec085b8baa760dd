#!/bin/sh
# The namespace with its retention, and the words by which stores, stages and trains are found. Safe to run again.
set -eu

NAMESPACE="${EDGE_TEMPORAL_NAMESPACE:-default}"

temporal operator namespace describe --namespace "$NAMESPACE" >/dev/null 2>&1 ||
  temporal operator namespace create --namespace "$NAMESPACE" --retention 720h

known="$(temporal operator search-attribute list --namespace "$NAMESPACE")"
for name in EdgeStore EdgeTrain EdgeStage EdgeOperation EdgeOutcome EdgeReason EdgeRelease; do
  case "$known" in
    *"$name"*) ;;
    *) temporal operator search-attribute create --namespace "$NAMESPACE" --name "$name" --type Keyword ;;
  esac
done
