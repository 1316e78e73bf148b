from data_contracts.machine import refuse_other_systems

refuse_other_systems()
