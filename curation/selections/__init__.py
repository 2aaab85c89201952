"""What is in and why not: named rules, conditions in SQL, duplicates and guards, judged clip by clip."""
