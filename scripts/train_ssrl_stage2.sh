#!/bin/sh
# Stage 2 of SSRL as published: with 2x3 patches, from the best of stage 1. See train_ssrl.sh beside it.
exec sh "$(dirname "$0")/train_ssrl.sh" 2 "$@"
