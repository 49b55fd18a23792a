"""Neural processes: learners that adapt by encoding the support set."""
