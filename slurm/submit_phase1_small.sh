#!/bin/bash
#SBATCH --job-name=submit_phase1_small
#SBATCH --time=00:20:00
#SBATCH --ntasks=1
#SBATCH --mem=2G
# From the repository's root: sbatch slurm/submit_phase1_small.sh, or run it with bash.
# Site settings are in slurm/site.yaml.
set -euo pipefail
exec "${VENDOMINI:-vendomini}" submit --config configs/phases/phase1_small.yaml --site slurm/site.yaml "$@"
