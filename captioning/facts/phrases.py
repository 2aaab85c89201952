"""How AudioSet's classes are said in a sentence: `a dog barking` for `Bark`.

Source: ours. A class without an entry is said by the first part of its name (`Vehicle horn, car horn, honking`: vehicle
horn); the entries are those that would be no grammatical part of "The sound of ...", or mean something else alone.
"""

import re

UNSAID = frozenset(
    {
        *("Inside, small room", "Inside, large room or hall", "Inside, public space"),
        *("Outside, urban or manmade", "Outside, rural or natural", "Field recording", "Silence", "Sound effect"),
        *("Reverberation", "Echo", "Environmental noise", "Distortion", "Sidetone", "Effects unit"),
    }
)
"""Classes of rooms and recordings, which say of nothing that it sounds."""

_PHRASES = """
Speech: people talking; Male speech, man speaking: a man speaking; Female speech, woman speaking: a woman speaking
Child speech, kid speaking: a child speaking; Conversation: people talking; Narration, monologue: a narrator speaking
Babbling: babbling; Speech synthesizer: a synthetic voice; Shout: shouting; Bellow: bellowing; Whoop: whooping
Yell: yelling; Battle cry: a battle cry; Laughter: laughter; Baby laughter: a baby laughing; Giggle: giggling
Snicker: snickering; Belly laugh: a belly laugh; Chuckle, chortle: chuckling; Crying, sobbing: crying
Baby cry, infant cry: a baby crying; Whimper: whimpering; Wail, moan: wailing; Sigh: sighing; Choir: a choir singing
Chant: chanting; Mantra: a mantra; Male singing: a man singing; Female singing: a woman singing
Child singing: a child singing; Synthetic singing: a synthetic voice singing; Groan: groaning; Grunt: grunting
Wheeze: wheezing; Gasp: gasping; Pant: panting; Snort: snorting; Cough: coughing; Sneeze: sneezing; Sniff: sniffing
Run: running footsteps; Shuffle: shuffling feet; Walk, footsteps: footsteps; Chewing, mastication: chewing
Burping, eructation: burping; Hiccup: hiccups; Fart: a fart; Hands: hands; Heart sounds, heartbeat: a heartbeat
Heart murmur: a heart murmur; Crowd: a crowd; Hubbub, speech noise, speech babble: many people talking at once
Animal: an animal; Domestic animals, pets: a pet; Dog: a dog; Bark: a dog barking; Yip: a dog yipping; Howl: howling
Bow-wow: a dog barking; Whimper (dog): a dog whimpering; Cat: a cat; Purr: a cat purring; Meow: a cat meowing
Hiss: hissing; Caterwaul: a cat caterwauling; Livestock, farm animals, working animals: farm animals; Horse: a horse
Clip-clop: the clip-clop of hooves; Neigh, whinny: a horse neighing; Cattle, bovinae: cattle; Moo: a cow mooing
Cowbell: a cowbell; Pig: a pig; Oink: a pig oinking; Goat: a goat; Bleat: bleating; Fowl: fowl
Chicken, rooster: a chicken; Cluck: a chicken clucking; Crowing, cock-a-doodle-doo: a rooster crowing; Turkey: a turkey
Gobble: a turkey gobbling; Duck: a duck; Quack: a duck quacking; Goose: a goose; Honk: a goose honking
Wild animals: a wild animal; Roaring cats (lions, tigers): a roaring big cat; Roar: roaring; Bird: a bird
Bird vocalization, bird call, bird song: bird calls; Chirp, tweet: chirping; Squawk: squawking; Pigeon, dove: a pigeon
Coo: a pigeon cooing; Crow: a crow; Caw: a crow cawing; Owl: an owl; Hoot: an owl hooting
Bird flight, flapping wings: flapping wings; Canidae, dogs, wolves: dogs or wolves; Rodents, rats, mice: a rodent
Mouse: a mouse; Patter: the patter of small feet; Insect: an insect; Cricket: crickets; Mosquito: a mosquito
Fly, housefly: a fly; Buzz: buzzing; Bee, wasp, etc.: a bee; Frog: a frog; Croak: croaking; Snake: a snake
Rattle: rattling; Whale vocalization: whale calls; Musical instrument: a musical instrument; Guitar: a guitar
Plucked string instrument: a plucked string instrument; Electric guitar: an electric guitar; Bass guitar: a bass guitar
Acoustic guitar: an acoustic guitar; Steel guitar, slide guitar: a steel guitar; Strum: strumming; Banjo: a banjo
Tapping (guitar technique): tapping on a guitar; Sitar: a sitar; Mandolin: a mandolin; Zither: a zither
Ukulele: a ukulele; Keyboard (musical): a musical keyboard; Piano: a piano; Electric piano: an electric piano
Organ: an organ; Electronic organ: an electronic organ; Hammond organ: a Hammond organ; Synthesizer: a synthesizer
Sampler: a sampler; Harpsichord: a harpsichord; Drum kit: a drum kit; Drum machine: a drum machine; Drum: a drum
Snare drum: a snare drum; Rimshot: a rimshot; Drum roll: a drum roll; Bass drum: a bass drum; Tabla: a tabla
Cymbal: a cymbal; Hi-hat: a hi-hat; Wood block: a wood block; Tambourine: a tambourine; Maraca: maracas; Gong: a gong
Rattle (instrument): a rattle; Marimba, xylophone: a marimba; Glockenspiel: a glockenspiel; Vibraphone: a vibraphone
Steelpan: a steelpan; Orchestra: an orchestra; Brass instrument: a brass instrument; French horn: a French horn
Trumpet: a trumpet; Trombone: a trombone; Bowed string instrument: a bowed string instrument; Violin, fiddle: a violin
String section: a string section; Pizzicato: plucked strings; Cello: a cello; Double bass: a double bass; Flute: a flute
Wind instrument, woodwind instrument: a wind instrument; Saxophone: a saxophone; Clarinet: a clarinet; Harp: a harp
Bell: a bell; Church bell: church bells; Jingle bell: jingle bells; Bicycle bell: a bicycle bell
Tuning fork: a tuning fork; Chime: a chime; Wind chime: a wind chime; Change ringing (campanology): church bells
Harmonica: a harmonica; Accordion: an accordion; Didgeridoo: a didgeridoo; Shofar: a shofar; Theremin: a theremin
Singing bowl: a singing bowl; Scratching (performance technique): scratching of records; Song: a song
Jingle (music): a jingle; Lullaby: a lullaby; Country: country music; Disco: disco music; Funk: funk music
Jazz: jazz; Opera: opera singing; Soundtrack music: soundtrack music; Wind noise (microphone): wind on a microphone
Thunderstorm: a thunderstorm; Raindrop: raindrops; Rain on surface: rain on a surface; Stream: a stream
Waterfall: a waterfall; Ocean: the ocean; Waves, surf: waves; Steam: steam; Fire: a fire; Crackle: crackling
Vehicle: a vehicle; Boat, Water vehicle: a boat; Sailboat, sailing ship: a sailboat
Rowboat, canoe, kayak: a rowboat; Motorboat, speedboat: a motorboat; Ship: a ship
Motor vehicle (road): a motor vehicle; Car: a car; Vehicle horn, car horn, honking: a car horn
Toot: tooting; Car alarm: a car alarm; Tire squeal: squealing tires; Power windows, electric windows: power windows
Car passing by: a car passing by; Race car, auto racing: a race car; Truck: a truck; Air brake: an air brake
Air horn, truck horn: an air horn; Ice cream truck, ice cream van: an ice cream truck; Bus: a bus
Emergency vehicle: an emergency vehicle; Police car (siren): a police siren; Ambulance (siren): an ambulance siren
Fire engine, fire truck (siren): a fire engine's siren; Motorcycle: a motorcycle; Rail transport: rail traffic
Traffic noise, roadway noise: traffic; Train: a train; Train whistle: a train whistle; Train horn: a train horn
Railroad car, train wagon: a railroad car; Subway, metro, underground: a subway train; Aircraft: an aircraft
Aircraft engine: an aircraft engine; Jet engine: a jet engine; Propeller, airscrew: a propeller
Helicopter: a helicopter; Fixed-wing aircraft, airplane: an airplane; Bicycle: a bicycle; Skateboard: a skateboard
Engine: an engine; Light engine (high frequency): a small engine; Medium engine (mid frequency): an engine
Heavy engine (low frequency): a heavy engine; Dental drill, dentist's drill: a dental drill; Lawn mower: a lawn mower
Chainsaw: a chainsaw; Engine starting: an engine starting; Idling: an engine idling; Door: a door; Doorbell: a doorbell
Accelerating, revving, vroom: an engine revving; Ding-dong: a ding-dong; Sliding door: a sliding door; Slam: slamming
Knock: knocking; Tap: tapping; Squeak: squeaking; Cupboard open or close: a cupboard; Drawer open or close: a drawer
Dishes, pots, and pans: dishes; Chopping (food): chopping food; Frying (food): frying food; Blender: a blender
Microwave oven: a microwave oven; Water tap, faucet: running tap water; Sink (filling or washing): water in a sink
Bathtub (filling or washing): water in a bathtub; Hair dryer: a hair dryer; Toilet flush: a toilet flushing
Toothbrush: a toothbrush; Electric toothbrush: an electric toothbrush; Vacuum cleaner: a vacuum cleaner
Zipper (clothing): a zipper; Keys jangling: keys jangling; Coin (dropping): a coin dropping
Electric shaver, electric razor: an electric shaver; Typewriter: a typewriter; Computer keyboard: a computer keyboard
Alarm: an alarm; Telephone: a telephone; Telephone bell ringing: a telephone ringing; Ringtone: a ringtone
Telephone dialing, DTMF: telephone dialing; Dial tone: a dial tone; Busy signal: a busy signal
Alarm clock: an alarm clock; Siren: a siren; Civil defense siren: a civil defense siren; Buzzer: a buzzer
Smoke detector, smoke alarm: a smoke alarm; Fire alarm: a fire alarm; Foghorn: a foghorn; Whistle: a whistle
Steam whistle: a steam whistle; Mechanisms: a mechanism; Ratchet, pawl: a ratchet; Clock: a clock; Tick: ticking
Tick-tock: ticking; Sewing machine: a sewing machine; Mechanical fan: a fan; Air conditioning: an air conditioner
Cash register: a cash register; Printer: a printer; Camera: a camera; Single-lens reflex camera: a camera
Hammer: a hammer; Jackhammer: a jackhammer; Filing (rasp): filing; Power tool: a power tool; Drill: a drill
Explosion: an explosion; Gunshot, gunfire: gunfire; Machine gun: a machine gun; Fusillade: a fusillade
Cap gun: a cap gun; Burst, pop: popping; Eruption: an eruption; Boom: a boom; Wood: wood; Chop: chopping
Splinter: splintering; Crack: cracking; Chink, clink: clinking; Shatter: shattering; Splash, splatter: splashing
Slosh: sloshing; Squish: squishing; Drip: dripping; Pour: pouring; Trickle, dribble: trickling; Gush: gushing
Fill (with liquid): filling with liquid; Spray: spraying; Pump (liquid): pumping; Stir: stirring; Boiling: boiling
Sonar: sonar; Arrow: an arrow; Whoosh, swoosh, swish: a whoosh; Thump, thud: thumping; Thunk: a thunk
Electronic tuner: an electronic tuner; Chorus effect: a chorus effect; Basketball bounce: a basketball bouncing
Bang: banging; Slap, smack: slapping; Whack, thwack: whacking; Smash, crash: smashing; Whip: a whip; Flap: flapping
Scratch: scratching; Scrape: scraping; Rub: rubbing; Roll: rolling; Crumpling, crinkling: crumpling
Beep, bleep: beeping; Ping: a ping; Ding: a ding; Clang: clanging; Squeal: squealing; Creak: creaking
Rustle: rustling; Whir: whirring; Clatter: clattering; Sizzle: sizzling; Clickety-clack: clickety-clack
Rumble: rumbling; Plop: a plop; Jingle, tinkle: jingling; Hum: humming; Zing: a zing; Boing: a boing
Crunch: crunching; Sine wave: a sine tone; Harmonic: a harmonic tone; Chirp tone: a chirp tone; Pulse: a pulse
Static: static; Cacophony: a cacophony; Television: a television; Radio: a radio
"""

PROPER = ("Christ", "Middle Eastern", "Carnatic")
"""Beginnings of classes that keep their capital."""

PHRASES = dict(entry.split(": ", 1) for line in _PHRASES.strip().splitlines() for entry in line.split("; "))
"""Class -> how it is said."""


def phrase(name: str) -> str | None:
    """How a class is said, or None for one that is not.

    Args:
        name: Its name, as AudioSet or another tagger has it.
    """
    if name in UNSAID:
        return None
    if name in PHRASES:
        return PHRASES[name]
    said = re.sub(r"\s*\([^)]*\)", "", name).partition(",")[0]
    return said if said.startswith(PROPER) else said[:1].lower() + said[1:]
