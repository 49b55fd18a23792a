"""The learners of the page that `quickstudy play` opens: their families of functions, and their training."""
