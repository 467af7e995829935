#!/bin/sh
# Stage 3 of SSRL as published: with 3x5 patches too, from the best of stage 2. See train_ssrl.sh beside it.
exec sh "$(dirname "$0")/train_ssrl.sh" 3 "$@"
