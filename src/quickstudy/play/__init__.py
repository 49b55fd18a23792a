"""The page that `quickstudy play` opens: click points, and watch learners change their minds."""
