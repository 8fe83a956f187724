"""A ledger of two claims and a variant."""

ENTRY = """
S05:
  paper: "000"
  where: §4, Fig 1
  chapter: 02_architecture_comparison
  kind: D
  statement: ViTs show the highest Accuracy Difference.
  reference: fig only
  criterion: The difference is above 0 in 80 % of the seeds.
  seeds: 5
  tests:
    - measure: gap
      above: 0
    - measure: gap
      between: [0, 1.5]
      statistic: share_of_seeds
      share: 0.8
N01:
  paper: "004"
  where: §6
  chapter: 07_kkt_reconstruction
  kind: N
  statement: Convolutional networks are harder.
  reference: none
  criterion: No pass or fail.
  seeds: 1
  tests: []
"""

VARIANT = """
S05-offgrid:
  paper: "000"
  where: §4, Fig 1
  chapter: 02_architecture_comparison
  kind: D
  row: S05
  differs: Patches moved off the grid of tokens.
  statement: ViTs show the highest Accuracy Difference.
  reference: none
  criterion: The difference is above 0.
  seeds: 5
  tests:
    - measure: gap
      above: 0
"""
