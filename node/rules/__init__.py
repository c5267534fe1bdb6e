"""The rules: which series are harmonized, by which plugin, and where the result goes.

One module a concern, each above those it needs:

    model      the shape of a rule, as pydantic types
    when       off-peak windows: when the jobs of a rule may start
    subjects   what a clause can speak of: DICOM attributes and derived facts
    explain    what the rules said of a series: every clause with what was found, as text and as JSON
    match      a rule and the facts of a series -> an explanation
    check      what is wrong with one clause: a misspelt keyword, a wrong type, a bad pattern
    reach      what can never decide: contradictions, clauses that always hold, shadowed rules
    flaws      what is wrong with a rule, in words and with its place in the document
    file       a YAML file of rules: documents, and the lines they stand on
    load       from YAML to a rule that is known to be sound; in the database with versions and audit
    transfer   all rules as one file for version control, out and in
    history    the versions of a rule, and what differs between two
    replay     what a rule would have selected among past series, against what was selected then

No rule comes from anywhere but `load`, so one that exists can be asked of any series.
"""
