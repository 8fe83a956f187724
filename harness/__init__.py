"""Run, keep, judge and show: knows no network, no data set and no paper."""
