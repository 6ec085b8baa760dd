#!/bin/sh
# For the pipeline of each pull request: names every problem by file and line, exit code 1 when there is one.
set -eu
exec edge fleet check --repo .
