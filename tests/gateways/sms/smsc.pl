# An SMSC of the Perl module Net::SMPP: reports every message as delivered, and says it back.
use strict;
use warnings;
use Net::SMPP;

$| = 1;
my $listener = Net::SMPP->new_listen('127.0.0.1', port => 0, async => 1) or die "listen: $!";
printf "{\"on\": \"listening\", \"port\": %d}\n", $listener->sockport;
my $smpp = $listener->accept or die "accept: $!";
my $count = 0;
while (my $pdu = $smpp->read_pdu) {
    my $kind = Net::SMPP::pdu_tab->{ $pdu->cmd }{cmd};
    if ($kind eq 'bind_transceiver') {
        my $good = $pdu->{system_id} eq 'gateway' && $pdu->{password} eq 'secret';
        $smpp->bind_transceiver_resp(system_id => 'perl', seq => $pdu->seq, status => $good ? 0 : 14);
        printf "{\"on\": \"bind\", \"good\": %d}\n", $good ? 1 : 0;
    }
    elsif ($kind eq 'submit_sm') {
        my $id = sprintf 'perl-%d', ++$count;
        printf "{\"on\": \"submit\", \"hex\": \"%s\", \"coding\": %d, \"esm\": %d, \"to\": \"%s\"}\n",
            unpack('H*', $pdu->{short_message}), $pdu->{data_coding}, $pdu->{esm_class},
            $pdu->{destination_addr};
        $smpp->submit_sm_resp(message_id => $id, seq => $pdu->seq);
        my %back = (
            source_addr => $pdu->{destination_addr}, source_addr_ton => 1, source_addr_npi => 1,
            destination_addr => $pdu->{source_addr}, dest_addr_ton => 1, dest_addr_npi => 1,
        );
        $smpp->deliver_sm(%back, esm_class => 4,
            short_message => "id:$id sub:001 dlvrd:001 submit date:2601011200 "
                . "done date:2601011201 stat:DELIVRD err:000 text:");
        $smpp->deliver_sm(%back, esm_class => $pdu->{esm_class} & 0x40,
            data_coding => $pdu->{data_coding}, short_message => $pdu->{short_message});
        $smpp->enquire_link();
    }
    elsif ($kind eq 'unbind') {
        print "{\"on\": \"unbind\"}\n";
        $smpp->unbind_resp(seq => $pdu->seq);
        last;
    }
    else {
        printf "{\"on\": \"%s\", \"status\": %d}\n", $kind, $pdu->status;
    }
}
